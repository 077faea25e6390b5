// The guest's serial port in xterm: raw bytes both ways.
import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import type { ConsoleLink } from "./console-link";
import { holdSafeStyles } from "./safe-styles";

export function openSerial(element: HTMLElement, address: string, onOpen: () => void): ConsoleLink {
  const releaseStyles = holdSafeStyles();
  const terminal = new Terminal({
    cursorBlink: true,
    fontSize: 14,
    scrollback: 5_000,
    screenReaderMode: true,
    theme: { background: "#000000" },
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(element);
  fit.fit();
  const watcher = new ResizeObserver(() => fit.fit());
  watcher.observe(element);

  const socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    onOpen();
    terminal.focus();
  };
  socket.onmessage = (event) => terminal.write(new Uint8Array(event.data as ArrayBuffer));
  const encoder = new TextEncoder();
  const send = (bytes: Uint8Array) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(bytes as Uint8Array<ArrayBuffer>);
  };
  terminal.onData((text) => send(encoder.encode(text)));
  terminal.onBinary((text) => send(Uint8Array.from(text, (character) => character.charCodeAt(0))));
  const closed = new Promise<void>((resolve) => (socket.onclose = () => resolve()));
  let isOpen = true;
  return {
    closed,
    close: () => {
      if (!isOpen) return;
      isOpen = false;
      socket.close();
      watcher.disconnect();
      terminal.dispose();
      releaseStyles();
    },
    press: () => undefined,
    paste: (text) => terminal.paste(text),
  };
}
