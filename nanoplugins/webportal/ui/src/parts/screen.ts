// The guest's screen: RFB over a WebSocket, drawn by noVNC.
import RFB from "@novnc/novnc";
import type { ConsoleLink } from "./console-link";

// X11 key symbols.
const KEY = { ctrl: 0xffe3, alt: 0xffe9, tab: 0xff09, escape: 0xff1b, f1: 0xffbe, f2: 0xffbf, enter: 0xff0d };
const COMBINATIONS: Record<string, number[]> = {
  ctrlAltF1: [KEY.ctrl, KEY.alt, KEY.f1],
  ctrlAltF2: [KEY.ctrl, KEY.alt, KEY.f2],
  altTab: [KEY.alt, KEY.tab],
  escape: [KEY.escape],
};
/** Symbols outside Latin-1 are the code point with this bit set. */
const UNICODE_SYMBOL = 0x01000000;

export function symbolOf(character: string): number {
  if (character === "\n") return KEY.enter;
  if (character === "\t") return KEY.tab;
  const code = character.codePointAt(0) ?? 0;
  return code < 0x100 ? code : UNICODE_SYMBOL | code;
}

export function openScreen(element: HTMLElement, address: string, onOpen: () => void): ConsoleLink {
  const rfb = new RFB(element, address, { shared: true });
  rfb.scaleViewport = true;
  rfb.focusOnClick = true;
  rfb.background = "#000";
  rfb.addEventListener("connect", onOpen);
  let isOpen = true;
  const closed = new Promise<void>((resolve) =>
    rfb.addEventListener("disconnect", () => {
      isOpen = false;
      resolve();
    }),
  );
  const press = (name: string) => {
    if (name === "ctrlAltDel") return rfb.sendCtrlAltDel();
    const symbols = COMBINATIONS[name] ?? [];
    for (const symbol of symbols) rfb.sendKey(symbol, null, true);
    for (const symbol of [...symbols].reverse()) rfb.sendKey(symbol, null, false);
  };
  return {
    closed,
    // noVNC complains of closing what the guest's end has closed already.
    close: () => {
      if (isOpen) rfb.disconnect();
      isOpen = false;
    },
    press,
    // Typed key by key: a guest without an agent has no clipboard to share.
    paste: (text) => [...text.replaceAll("\r", "")].forEach((character) => rfb.sendKey(symbolOf(character), null)),
  };
}
