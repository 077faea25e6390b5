// noVNC comes without types; these are the parts in use.
declare module "@novnc/novnc" {
  export default class RFB extends EventTarget {
    constructor(target: HTMLElement, url: string, options?: { shared?: boolean });
    scaleViewport: boolean;
    focusOnClick: boolean;
    background: string;
    disconnect(): void;
    sendCtrlAltDel(): void;
    sendKey(symbol: number, code: string | null, isDown?: boolean): void;
    clipboardPasteFrom(text: string): void;
  }
}
