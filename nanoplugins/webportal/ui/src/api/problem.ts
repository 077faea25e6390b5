// What went wrong, in the API's words; made from problem+json, from an operation's error, or from a dead connection.
import type { OperationError } from "./types";

export interface ProblemDetails {
  code: string;
  detail: string;
  status?: number;
  reason?: string | null;
  field?: string | null;
  errors?: Record<string, string[]>;
  request_id?: string | null;
  incident?: string | null;
}

export class Problem extends Error {
  readonly details: ProblemDetails;

  constructor(details: ProblemDetails) {
    super(details.detail);
    this.details = details;
  }
}

export function problemOfBody(status: number, body: unknown, requestId: string | null): Problem {
  const known = typeof body === "object" && body !== null ? (body as Partial<ProblemDetails> & { title?: string }) : {};
  return new Problem({
    code: known.code ?? codeOfStatus(status),
    detail: known.detail ?? known.title ?? "",
    status,
    reason: known.reason ?? null,
    field: known.field ?? null,
    errors: known.errors,
    request_id: known.request_id ?? requestId,
    incident: known.incident ?? null,
  });
}

export function problemOfOperation(error: Pick<OperationError, "code"> & Partial<OperationError>): Problem {
  return new Problem({
    code: error.code,
    detail: error.message ?? "",
    reason: error.reason ?? null,
    incident: (error.details?.incident as string | undefined) ?? null,
  });
}

/** Errors of the network have no answer to read. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof TypeError) return new Problem({ code: "offline", detail: "" });
  return new Problem({ code: "internal", detail: error instanceof Error ? error.message : String(error) });
}

function codeOfStatus(status: number): string {
  const codes: Record<number, string> = { 401: "unauthenticated", 403: "permission_denied", 404: "not_found" };
  return codes[status] ?? (status >= 502 && status <= 504 ? "unavailable" : "internal");
}

/** `disks[1].size_bytes` and `disks.1.size_bytes` are the same place, in one request and in one of a batch. */
const plainPath = (path: string) => path.replace(/\[(\d+)\]/g, ".$1").replace(/^(create|values)\./, "");

/** The messages for one form field, from `errors` or from `field`. */
export function fieldError(error: unknown, field: string): string | undefined {
  if (!error) return undefined;
  const { errors, field: only, detail } = asProblem(error).details;
  const wanted = plainPath(field);
  const found = Object.entries(errors ?? {}).find(([path]) => plainPath(path) === wanted);
  return found?.[1].join(" ") ?? (only && plainPath(only) === wanted ? detail : undefined);
}
