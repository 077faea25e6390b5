// Where the focus goes when something appears.
import { useEffect, type RefObject } from "react";

/** After a dialog has taken the focus for its close button. */
export function useFocusInDialog(target: RefObject<{ focus(): void } | null>): void {
  useEffect(() => {
    const timer = window.setTimeout(() => target.current?.focus(), 50);
    return () => window.clearTimeout(timer);
  }, [target]);
}

/** To the first field that an answer complained about. */
export function useFocusInvalid(error: unknown): void {
  useEffect(() => {
    if (error) document.querySelector<HTMLElement>("#content [aria-invalid=true]")?.focus();
  }, [error]);
}

export function useFocusInvalidInDialog(error: unknown): void {
  useEffect(() => {
    if (error) document.querySelector<HTMLElement>("[role=dialog] [aria-invalid=true]")?.focus();
  }, [error]);
}
