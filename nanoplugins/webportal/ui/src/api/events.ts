// One WebSocket a tab: tells which topics changed, and whether the connection lives.
import { BASE } from "./client";

export type LiveState = "live" | "reconnecting" | "offline";

export interface EventMessage {
  type: "hello" | "event" | "reset" | "ping";
  cursor?: string;
  topic?: string;
  id?: string;
}

/** What a message asks for: read everything again, read some topics again, or nothing. */
export function decide(message: EventMessage, hadConnection: boolean): "all" | "topic" | "nothing" {
  if (message.type === "reset") return "all";
  if (message.type === "hello") return hadConnection ? "all" : "nothing";
  return message.type === "event" && message.topic ? "topic" : "nothing";
}

export function retryDelay(attempt: number): number {
  return Math.min(15_000, 500 * 2 ** Math.min(attempt, 5));
}

const OFFLINE_AFTER_ATTEMPTS = 3;
/** A connection may be cut without anybody telling; after this much silence the API is asked whether it answers. */
const SILENCE_MS = 20_000;
const COALESCE_MS = 150;
/** However much changes, what is shown is read again at most this often: drawing a long list costs as much as it shows. */
const LEAST_GAP_MS = 1_000;

/** How long to gather changes before telling of them, when the last ones were told `sinceLast` ago. */
export function gatherFor(sinceLast: number): number {
  return Math.max(COALESCE_MS, LEAST_GAP_MS - sinceLast);
}

export interface EventSink {
  state(state: LiveState, since: Date): void;
  stale(topics: ReadonlySet<string> | "all"): void;
  /** Whether the API answers now. */
  probe(): Promise<boolean>;
}

export class EventStream {
  private socket: WebSocket | null = null;
  private cursor: string | null = null;
  private attempt = 0;
  private hadConnection = false;
  private isClosed = false;
  private state: LiveState = "reconnecting";
  private retryTimer = 0;
  private silenceTimer = 0;
  private flushTimer = 0;
  private toldAt = -LEAST_GAP_MS;
  private readonly pending = new Set<string>();

  constructor(private readonly sink: EventSink) {}

  open(): void {
    if (this.isClosed) return;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    // Without `topics` the server sends everything that this user may see.
    const query = this.cursor ? `?cursor=${encodeURIComponent(this.cursor)}` : "";
    const socket = new WebSocket(`${scheme}://${location.host}${BASE}/events${query}`);
    this.socket = socket;
    socket.onmessage = (event) => this.receive(JSON.parse(String(event.data)) as EventMessage);
    socket.onclose = () => this.lost(socket);
  }

  close(): void {
    this.isClosed = true;
    window.clearTimeout(this.retryTimer);
    window.clearTimeout(this.silenceTimer);
    window.clearTimeout(this.flushTimer);
    this.socket?.close();
  }

  /** Try at once instead of waiting for the next attempt. */
  retryNow(): void {
    if (this.state === "live" || this.isClosed) return;
    window.clearTimeout(this.retryTimer);
    this.socket?.close();
    this.open();
  }

  private receive(message: EventMessage): void {
    this.expectMore();
    if (message.cursor) this.cursor = message.cursor;
    if (message.type === "hello") {
      this.attempt = 0;
      this.enter("live");
    }
    const decision = decide(message, this.hadConnection);
    if (message.type === "hello") this.hadConnection = true;
    if (decision === "all") this.sink.stale("all");
    if (decision === "topic") this.note(message.topic as string);
  }

  private note(topic: string): void {
    this.pending.add(topic);
    if (this.flushTimer) return;
    this.flushTimer = window.setTimeout(() => {
      this.flushTimer = 0;
      this.toldAt = performance.now();
      const topics = new Set(this.pending);
      this.pending.clear();
      this.sink.stale(topics);
    }, gatherFor(performance.now() - this.toldAt));
  }

  private expectMore(): void {
    window.clearTimeout(this.silenceTimer);
    this.silenceTimer = window.setTimeout(() => void this.ask(), SILENCE_MS);
  }

  private async ask(): Promise<void> {
    const socket = this.socket;
    if (await this.sink.probe()) return this.expectMore();
    if (socket && socket === this.socket) {
      // close() on a dead connection may take minutes to be noticed.
      socket.onclose = null;
      socket.close();
      this.lost(socket);
    }
  }

  private lost(socket: WebSocket): void {
    if (this.isClosed || socket !== this.socket) return;
    window.clearTimeout(this.silenceTimer);
    this.attempt += 1;
    this.enter(this.attempt >= OFFLINE_AFTER_ATTEMPTS ? "offline" : "reconnecting");
    this.retryTimer = window.setTimeout(() => this.open(), retryDelay(this.attempt));
  }

  private enter(state: LiveState): void {
    if (this.state === state) return;
    this.state = state;
    this.sink.state(state, new Date());
  }
}
