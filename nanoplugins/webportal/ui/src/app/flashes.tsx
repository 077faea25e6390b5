// Messages above the page: what was asked, how it ends.
import Flashbar, { type FlashbarProps } from "@cloudscape-design/components/flashbar";
import { createContext, useCallback, useContext, useMemo, useState, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { request } from "../api/client";
import { asProblem, problemOfOperation, type Problem } from "../api/problem";
import type { Operation, OperationError } from "../api/types";
import { ProblemText } from "../parts/problem";

interface Flash {
  id: string;
  type: FlashbarProps.Type;
  text: ReactNode;
  isLoading?: boolean;
}

interface FlashesValue {
  flashes: Flash[];
  show(flash: Flash): void;
  hide(id: string): void;
  /** Send a request that is answered by an operation, and tell how it ends. */
  follow(title: string, ask: () => Promise<Operation | undefined>): Promise<boolean>;
}

const FlashesContext = createContext<FlashesValue | null>(null);
const VANISH_MS = 4_000;

/** Returns the operation in its final state. */
export async function waitFor(operation: Operation): Promise<Operation> {
  let current = operation;
  while (current.state === "pending" || current.state === "running") {
    current = await request<Operation>("GET", `/operations/${operation.id}?wait_seconds=25`);
  }
  return current;
}

interface Item {
  name?: string;
  error?: OperationError | null;
}

/** Also what failed inside: a batch succeeds as a whole although some of its items did not. */
export function problemOf(operation: Operation): Problem | null {
  if (operation.state !== "succeeded") {
    return problemOfOperation(operation.error ?? { code: operation.state === "cancelled" ? "cancelled" : "internal" });
  }
  const items = (operation.result?.items ?? []) as Item[];
  const failed = items.flatMap((item) => (item.error ? [{ name: item.name ?? "", error: item.error }] : []));
  const [first] = failed;
  if (!first) return null;
  return problemOfOperation({ ...first.error, message: failed.map(({ name, error }) => `${name}: ${error.message}`).join("; ") });
}

export function FlashesProvider({ children }: { children: ReactNode }) {
  const [flashes, setFlashes] = useState<Flash[]>([]);
  const hide = useCallback((id: string) => setFlashes((all) => all.filter((flash) => flash.id !== id)), []);
  const show = useCallback(
    (flash: Flash) => {
      setFlashes((all) => [flash, ...all.filter((other) => other.id !== flash.id)].slice(0, 5));
      if (flash.type === "success") window.setTimeout(() => hide(flash.id), VANISH_MS);
    },
    [hide],
  );
  const follow = useCallback(
    async (title: string, ask: () => Promise<Operation | undefined>) => {
      const id = crypto.randomUUID();
      show({ id, type: "in-progress", text: title, isLoading: true });
      try {
        const operation = await ask();
        const problem = operation ? problemOf(await waitFor(operation)) : null;
        if (problem) throw problem;
        show({ id, type: "success", text: title });
        return true;
      } catch (error) {
        show({ id, type: "error", text: <ProblemText title={title} problem={asProblem(error)} /> });
        return false;
      }
    },
    [show],
  );
  const value = useMemo(() => ({ flashes, show, hide, follow }), [flashes, show, hide, follow]);
  return <FlashesContext.Provider value={value}>{children}</FlashesContext.Provider>;
}

export function useFlashes(): FlashesValue {
  const value = useContext(FlashesContext);
  if (!value) throw new Error("FlashesProvider is missing");
  return value;
}

export function Flashes() {
  const { flashes, hide } = useFlashes();
  const { t } = useTranslation();
  const items = flashes.map((flash): FlashbarProps.MessageDefinition => ({
    id: flash.id,
    type: flash.type,
    loading: flash.isLoading,
    content: flash.text,
    dismissible: true,
    dismissLabel: t("dismiss"),
    onDismiss: () => hide(flash.id),
  }));
  return <Flashbar items={items} />;
}
