// Who is logged in; when the session ends, ask again on top of the page and keep what was typed.
import { useQueryClient } from "@tanstack/react-query";
import { createContext, useCallback, useContext, useEffect, useMemo, useState, type ReactNode } from "react";
import { get, onSessionExpired, request, setCsrfToken } from "../api/client";
import { Problem } from "../api/problem";
import type { Session, User } from "../api/types";

type Status = "loading" | "anonymous" | "active" | "expired";

interface SessionValue {
  status: Status;
  user: User | null;
  error: unknown;
  login(username: string, password: string): Promise<void>;
  logout(): Promise<void>;
  can(permission: string): boolean;
}

const SessionContext = createContext<SessionValue | null>(null);
const HINT = "nano.session";

/** Without the hint there is no cookie either, and asking would only log a refused request. */
const mayHaveSession = () => localStorage.getItem(HINT) !== null;

export function SessionProvider({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const [user, setUser] = useState<User | null>(null);
  const [status, setStatus] = useState<Status>(mayHaveSession() ? "loading" : "anonymous");
  const [error, setError] = useState<unknown>(null);

  const accept = useCallback((session: Session) => {
    setCsrfToken(session.csrf_token);
    localStorage.setItem(HINT, "1");
    setUser(session.user);
    setStatus("active");
    setError(null);
  }, []);

  useEffect(() => {
    if (!mayHaveSession()) return;
    get<Session>("/session").then(accept, (problem: unknown) => {
      setStatus("anonymous");
      const isRefusal = problem instanceof Problem && problem.details.code === "unauthenticated";
      if (isRefusal) localStorage.removeItem(HINT);
      else setError(problem);
    });
  }, [accept]);

  useEffect(
    () => onSessionExpired(() => setStatus((before) => (before === "active" ? "expired" : before))),
    [],
  );

  const login = useCallback(
    async (username: string, password: string) => {
      accept(await request<Session>("POST", "/session", { body: { username, password }, isLogin: true }));
      await client.invalidateQueries();
    },
    [accept, client],
  );

  const logout = useCallback(async () => {
    await request("DELETE", "/session", { isLogin: true }).catch(() => undefined);
    localStorage.removeItem(HINT);
    setCsrfToken(null);
    setUser(null);
    setStatus("anonymous");
    client.clear();
  }, [client]);

  const value = useMemo<SessionValue>(() => {
    const can = (permission: string) => mayUse(user?.permissions ?? [], permission);
    return { status, user, error, login, logout, can };
  }, [status, user, error, login, logout]);
  return <SessionContext.Provider value={value}>{children}</SessionContext.Provider>;
}

/** The API says what the user may; `*`, `noun.*` and `*.verb` stand for everything of their kind. */
function mayUse(permissions: readonly string[], permission: string): boolean {
  const [noun, verb] = permission.split(".");
  return ["*", `${noun}.*`, `*.${verb}`, permission].some((granted) => permissions.includes(granted));
}

export function useSession(): SessionValue {
  const value = useContext(SessionContext);
  if (!value) throw new Error("SessionProvider is missing");
  return value;
}
