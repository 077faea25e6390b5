/** An open console, whatever draws it. */
export interface ConsoleLink {
  closed: Promise<void>;
  close(): void;
  /** A named key combination. */
  press(name: string): void;
  paste(text: string): void;
}
