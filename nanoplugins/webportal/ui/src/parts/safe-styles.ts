// xterm writes <style> elements and style attributes, which the portal's content security policy refuses. While a
// terminal is open, document.createElement gives out elements that write the same through constructed style sheets
// and the CSSOM, which the policy allows. xterm's own `documentOverride` does not reach all the places that create.

let users = 0;

/** Begin; call the returned function when the terminal is gone. */
export function holdSafeStyles(): () => void {
  users += 1;
  const sheets: CSSStyleSheet[] = [];
  if (users === 1) document.createElement = createElement(sheets) as typeof document.createElement;
  let isHeld = true;
  return () => {
    if (!isHeld) return;
    isHeld = false;
    users -= 1;
    sheets.forEach(drop);
    // The property on the object hides the one of the prototype.
    if (users === 0) Reflect.deleteProperty(document, "createElement");
  };
}

function createElement(sheets: CSSStyleSheet[]) {
  const original = Document.prototype.createElement.bind(document);
  return (name: string, options?: ElementCreationOptions): HTMLElement => {
    if (name === "style") return sheetElement(original("template"), sheets);
    const element = original(name, options);
    return name === "span" ? styled(element) : element;
  };
}

/** An empty element in the place of <style>; its text becomes a constructed sheet. */
function sheetElement(element: HTMLElement, sheets: CSSStyleSheet[]): HTMLElement {
  const sheet = new CSSStyleSheet();
  sheets.push(sheet);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  Object.defineProperty(element, "textContent", { set: (text: string) => sheet.replaceSync(text) });
  element.remove = () => {
    drop(sheet);
    Element.prototype.remove.call(element);
  };
  return element;
}

function drop(sheet: CSSStyleSheet): void {
  document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== sheet);
}

function styled(element: HTMLElement): HTMLElement {
  element.setAttribute = (name: string, value: string) => {
    if (name === "style") element.style.cssText = value;
    else Element.prototype.setAttribute.call(element, name, value);
  };
  return element;
}
