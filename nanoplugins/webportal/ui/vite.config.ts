import { createHash } from "node:crypto";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

// `npm run dev` talks to a real server when NANO_API names one, else to the invented one in dev/.
const api = process.env.NANO_API;

async function devPlugins() {
  if (api || process.env.VITEST) return [];
  // @ts-expect-error plain JavaScript, for development only
  const { mockApi } = await import("./dev/mock.mjs");
  return [mockApi()];
}

/** Fonts that a library's style sheet carries as data: become files of their own, which the policy allows. */
function fontFiles(): Plugin {
  const inline = /url\(["']?data:font\/(woff2?);base64,([A-Za-z0-9+/=]+)["']?\)/g;
  return {
    name: "nano-font-files",
    enforce: "post",
    generateBundle(_options, bundle) {
      for (const file of Object.values(bundle)) {
        if (file.type !== "asset" || !file.fileName.endsWith(".css")) continue;
        file.source = String(file.source).replace(inline, (_all, kind: string, data: string) => {
          const bytes = Buffer.from(data, "base64");
          const name = `font-${createHash("sha256").update(bytes).digest("hex").slice(0, 8)}.${kind}`;
          this.emitFile({ type: "asset", fileName: `assets/${name}`, source: bytes });
          return `url("./${name}")`;
        });
      }
    },
  };
}

export default defineConfig(async ({ command }) => ({
  plugins: [react(), fontFiles(), ...(command === "serve" ? await devPlugins() : [])],
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
