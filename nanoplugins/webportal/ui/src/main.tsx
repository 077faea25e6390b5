import "@cloudscape-design/global-styles/index.css";
import "./style.css";
import { QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { createQueryClient } from "./api/queries";
import { setUpLanguage } from "./app/i18n";
import { applyLooks, watchPreferences } from "./app/preferences";
import { Root } from "./app/root";

async function start(): Promise<void> {
  applyLooks();
  watchPreferences();
  await setUpLanguage();
  const root = document.getElementById("root");
  if (!root) throw new Error("no element #root");
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={createQueryClient()}>
        <Root />
      </QueryClientProvider>
    </StrictMode>,
  );
}

void start();
