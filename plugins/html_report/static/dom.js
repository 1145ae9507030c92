// Elements are made here and nowhere else: whatever anybody has written goes in as text.

/** Make an element; children are elements or text. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

/** Replace what is in an element. */
export function fill(host, ...children) {
  host.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
}

/** Say something to those who look and to those who listen. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

export function button(text, act, attributes = {}) {
  return el("button", { type: "button", onclick: act, ...attributes }, text);
}

/** Put text onto the clipboard, or into a file where there is no clipboard. */
export async function copyText(text, name) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied.");
  } catch {
    save(new Blob([text], { type: "text/plain" }), name);
  }
}

/** Offer a file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
  say(`Saved as ${name}.`);
}
