// Compressed JSON in script elements, decoded when it is needed for the first time.

const decoded = new Map();

async function bytes(number) {
  const letters = atob(document.getElementById(`packed-${number}`).textContent);
  const raw = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
  return new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
}

function once(number, read) {
  if (!decoded.has(number)) {
    decoded.set(number, bytes(number).then((stream) => read(new Response(stream))));
  }
  return decoded.get(number);
}

/** The charting library, number 0. */
export const library = () => once(0, (response) => response.text());

/** JSON: number 1 is the index of the episodes, then come chunks of episodes. */
export const packed = (number) => once(number, (response) => response.json());
