// The only way to the server: JSON over /api/v2, CSRF token and idempotency key on every write.
import { Problem, problemOfBody } from "./problem";
import type { Page } from "./types";

export const BASE = "/api/v2";

type Listener = () => void;
let csrfToken: string | null = null;
const expiredListeners = new Set<Listener>();

export function setCsrfToken(token: string | null): void {
  csrfToken = token;
}

/** Call `listener` when an answer says that the session is over. */
export function onSessionExpired(listener: Listener): () => void {
  expiredListeners.add(listener);
  return () => expiredListeners.delete(listener);
}

export interface RequestOptions {
  body?: unknown;
  signal?: AbortSignal;
  idempotencyKey?: string;
  /** The login itself answers 401 without the session being over. */
  isLogin?: boolean;
}

export async function send(method: string, path: string, options: RequestOptions = {}): Promise<Response> {
  const response = await fetch(path.startsWith(BASE) ? path : BASE + path, {
    method,
    headers: headersFor(method, options),
    body: options.body === undefined ? undefined : JSON.stringify(options.body),
    signal: options.signal,
    credentials: "same-origin",
  });
  if (response.ok) return response;
  throw await problemOf(response, options.isLogin ?? false);
}

export async function request<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
  const response = await send(method, path, options);
  if (response.status === 204) return undefined as T;
  return (await response.json()) as T;
}

export const get = <T>(path: string, signal?: AbortSignal) => request<T>("GET", path, { signal });
export const post = <T>(path: string, body?: unknown) => request<T>("POST", path, { body: body ?? {} });
export const patch = <T>(path: string, body: unknown) => request<T>("PATCH", path, { body });
export const put = <T>(path: string) => request<T>("PUT", path, { body: {} });
export const putBody = <T>(path: string, body: unknown) => request<T>("PUT", path, { body });
export const del = <T>(path: string) => request<T>("DELETE", path);

/** Short lists may come bare; every caller sees a page. */
export async function getPage<T>(path: string, signal?: AbortSignal): Promise<Page<T>> {
  const answer = await get<Page<T> | T[]>(path, signal);
  if (!Array.isArray(answer)) return answer;
  return { items: answer, next_cursor: null, total: answer.length, revision: 0 };
}

export function writeHeaders(): Record<string, string> {
  const headers: Record<string, string> = {};
  if (csrfToken) headers["X-CSRF-Token"] = csrfToken;
  return headers;
}

function headersFor(method: string, options: RequestOptions): Record<string, string> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (method === "GET") return headers;
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  headers["Idempotency-Key"] = options.idempotencyKey ?? crypto.randomUUID();
  return { ...headers, ...writeHeaders() };
}

export async function problemOf(response: Response, isLogin = false): Promise<Problem> {
  const body: unknown = await response.json().catch(() => null);
  const problem = problemOfBody(response.status, body, response.headers.get("X-Request-Id"));
  if (problem.details.code === "unauthenticated" && !isLogin) expiredListeners.forEach((listener) => listener());
  return problem;
}
