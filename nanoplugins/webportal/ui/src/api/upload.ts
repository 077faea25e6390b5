// Resumable upload (tus 1.0): ask where the server stands, send the next piece, repeat.
import { problemOf, writeHeaders } from "./client";
import { Problem } from "./problem";

const TUS = { "Tus-Resumable": "1.0.0" };
export const PIECE_BYTES = 8 * 1024 * 1024;

export interface UploadProgress {
  sent: number;
  total: number;
  bytesPerSecond: number;
}

/** Speed over the last seconds, so that a pause or a stall shows at once. */
export class SpeedMeter {
  private readonly marks: { at: number; sent: number }[] = [];

  constructor(private readonly windowMs = 5_000) {}

  add(at: number, sent: number): number {
    this.marks.push({ at, sent });
    while (this.marks.length > 2 && (this.marks[0]?.at ?? at) < at - this.windowMs) this.marks.shift();
    const first = this.marks[0];
    if (!first || at <= first.at) return 0;
    return ((sent - first.sent) * 1000) / (at - first.at);
  }
}

export async function uploadOffset(path: string): Promise<number> {
  const response = await fetch(path, { method: "HEAD", headers: TUS, credentials: "same-origin" });
  if (!response.ok) throw await problemOf(response);
  return Number(response.headers.get("Upload-Offset") ?? 0);
}

export async function upload(
  path: string,
  file: File,
  onProgress: (progress: UploadProgress) => void,
  signal: AbortSignal,
): Promise<void> {
  const meter = new SpeedMeter();
  let offset = await uploadOffset(path);
  const tell = (sent: number) =>
    onProgress({ sent, total: file.size, bytesPerSecond: meter.add(performance.now(), sent) });
  tell(offset);
  while (offset < file.size) {
    const piece = file.slice(offset, offset + PIECE_BYTES);
    const start = offset;
    offset = await sendPiece(path, piece, start, (sent) => tell(start + sent), signal);
    tell(offset);
  }
}

/** XMLHttpRequest, because fetch does not tell how much of a body has left. */
function sendPiece(
  path: string,
  piece: Blob,
  offset: number,
  onSent: (bytes: number) => void,
  signal: AbortSignal,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    const stop = () => call.abort();
    call.open("PATCH", path);
    const headers = { ...TUS, ...writeHeaders(), "Idempotency-Key": crypto.randomUUID() };
    for (const [name, value] of Object.entries(headers)) call.setRequestHeader(name, value);
    call.setRequestHeader("Content-Type", "application/offset+octet-stream");
    call.setRequestHeader("Upload-Offset", String(offset));
    call.upload.onprogress = (event) => onSent(event.loaded);
    call.onloadend = () => {
      signal.removeEventListener("abort", stop);
      if (signal.aborted) reject(new DOMException("paused", "AbortError"));
      else if (call.status === 204 || call.status === 200) resolve(answeredOffset(call, offset + piece.size));
      else answerOf(call).then(reject, reject);
    };
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) reject(new DOMException("paused", "AbortError"));
    else call.send(piece);
  });
}

function answeredOffset(call: XMLHttpRequest, expected: number): number {
  const header = call.getResponseHeader("Upload-Offset");
  return header === null ? expected : Number(header);
}

async function answerOf(call: XMLHttpRequest): Promise<Problem> {
  if (call.status === 0) return new Problem({ code: "offline", detail: "" });
  const headers = { "X-Request-Id": call.getResponseHeader("X-Request-Id") ?? "" };
  return problemOf(new Response(call.responseText, { status: call.status, headers }));
}
