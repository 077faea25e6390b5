// Whether the screen is a phone's.
import { useSyncExternalStore } from "react";

const query = window.matchMedia("(max-width: 688px)");

export function useIsNarrow(): boolean {
  return useSyncExternalStore(
    (listener) => {
      query.addEventListener("change", listener);
      return () => query.removeEventListener("change", listener);
    },
    () => query.matches,
  );
}
