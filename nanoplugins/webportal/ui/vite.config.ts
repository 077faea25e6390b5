import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// `npm run dev` talks to a real server when NANO_API names one, else to the invented one in dev/.
const api = process.env.NANO_API;

async function devPlugins() {
  if (api || process.env.VITEST) return [];
  // @ts-expect-error plain JavaScript, for development only
  const { mockApi } = await import("./dev/mock.mjs");
  return [mockApi()];
}

export default defineConfig(async ({ command }) => ({
  plugins: [react(), ...(command === "serve" ? await devPlugins() : [])],
  build: {
    outDir: process.env.NANO_PORTAL_OUT ?? "../static",
    emptyOutDir: true,
    // data: addresses are refused by the portal's content security policy.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1600,
    target: "es2022",
  },
  server: api ? { proxy: { "/api": { target: api, ws: true, secure: false } } } : {},
  test: { include: ["tests/**/*.test.ts"], environment: "node" },
}));
