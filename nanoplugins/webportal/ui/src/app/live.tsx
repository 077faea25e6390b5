// Keeps what is on the screen fresh: events mark queries as stale, polling helps while there are none.
import { useQueryClient } from "@tanstack/react-query";
import { createContext, useContext, useEffect, useMemo, useRef, useState, type ReactNode } from "react";
import { get } from "../api/client";
import { EventStream, type LiveState } from "../api/events";
import { Problem } from "../api/problem";
import { useSession } from "./session";

interface LiveValue {
  state: LiveState;
  since: Date;
  retryNow(): void;
}

const LiveContext = createContext<LiveValue>({ state: "reconnecting", since: new Date(), retryNow: () => undefined });
const POLL_MS = 5_000;
const PROBE_MS = 5_000;

async function probe(): Promise<boolean> {
  try {
    await get("/system", AbortSignal.timeout(PROBE_MS));
    return true;
  } catch (error) {
    return error instanceof Problem && error.details.code !== "offline";
  }
}

/** Topics whose change also shows in another collection's items. */
const ALSO: Record<string, string[]> = {
  instances: ["system", "compute-pools", "volumes"],
  nodes: ["system", "compute-pools"],
  "compute-pools": ["nodes"],
  "disk-images": ["system"],
  volumes: ["storage-pools"],
  "storage-pools": ["volumes"],
  networks: ["address-pools"],
  "address-pools": ["networks"],
};

export function LiveProvider({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const { status } = useSession();
  const [live, setLive] = useState<{ state: LiveState; since: Date }>({ state: "reconnecting", since: new Date() });
  const stream = useRef<EventStream | null>(null);

  useEffect(() => {
    if (status !== "active") return;
    const refresh = (topic: string) => void client.invalidateQueries({ queryKey: [topic] });
    stream.current = new EventStream({
      state: (state, since) => setLive({ state, since }),
      stale: (topics) => {
        if (topics === "all") return void client.invalidateQueries();
        const wider = new Set([...topics].flatMap((topic) => [topic, ...(ALSO[topic] ?? [])]));
        wider.forEach(refresh);
      },
      probe,
    });
    stream.current.open();
    const now = () => stream.current?.retryNow();
    window.addEventListener("online", now);
    return () => {
      window.removeEventListener("online", now);
      stream.current?.close();
    };
  }, [status, client]);

  useEffect(() => {
    if (status !== "active" || live.state === "live") return;
    const timer = window.setInterval(() => void client.invalidateQueries(), POLL_MS);
    return () => window.clearInterval(timer);
  }, [status, live.state, client]);

  const value = useMemo(
    () => ({
      ...live,
      retryNow: () => {
        stream.current?.retryNow();
        void client.invalidateQueries();
      },
    }),
    [live, client],
  );
  return <LiveContext.Provider value={value}>{children}</LiveContext.Provider>;
}

export const useLive = () => useContext(LiveContext);
