// From an answer to its end: an operation is watched, anything else is done already; then what is shown is read again.
import { useQueryClient } from "@tanstack/react-query";
import { useCallback } from "react";
import type { Operation } from "../api/types";
import { useFlashes } from "./flashes";

export function isOperation(answer: unknown): answer is Operation {
  return typeof answer === "object" && answer !== null && "progress" in answer && "requested_by" in answer;
}

export function useFollow() {
  const client = useQueryClient();
  const flashes = useFlashes();
  const refresh = useCallback(() => client.invalidateQueries(), [client]);
  const follow = useCallback(
    async (title: string, answer: unknown): Promise<boolean> => {
      if (isOperation(answer)) return flashes.follow(title, () => Promise.resolve(answer));
      flashes.show({ id: crypto.randomUUID(), type: "success", text: title });
      return true;
    },
    [flashes],
  );
  /** Ask, watch, and say how it ends. */
  const ask = useCallback(
    async (title: string, request: () => Promise<unknown>): Promise<boolean> => {
      const isDone = await flashes.follow(title, async () => {
        const answer = await request();
        return isOperation(answer) ? answer : undefined;
      });
      await refresh();
      return isDone;
    },
    [flashes, refresh],
  );
  return { follow, ask, refresh };
}
