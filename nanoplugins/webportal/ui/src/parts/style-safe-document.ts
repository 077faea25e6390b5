// xterm writes <style> elements and style attributes, which the portal's content security policy refuses. It is
// given this view of the document instead: what it writes goes into constructed style sheets and the CSSOM, which
// the policy allows.

export interface StyleSafeDocument {
  document: Document;
  release(): void;
}

export function styleSafeDocument(): StyleSafeDocument {
  const sheets: CSSStyleSheet[] = [];
  const createElement = (name: string): HTMLElement =>
    name.toLowerCase() === "style" ? sheetElement(sheets) : styled(document.createElement(name));
  const view = new Proxy(document, {
    get(target, property) {
      if (property === "createElement") return createElement;
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
  return { document: view, release: () => sheets.forEach(drop) };
}

/** An empty element in the place of <style>; its text becomes a constructed sheet. */
function sheetElement(sheets: CSSStyleSheet[]): HTMLElement {
  const element = document.createElement("template");
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
