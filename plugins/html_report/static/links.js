// Deep links: #cell=ROW,COLUMN,BEFORE and #episode=WHERE&before=WHERE.

/** Put what is shown into the address, without going there. */
export function setLink(parts) {
  const text = Object.entries(parts).filter(([, value]) => value !== null && value !== undefined)
    .map(([key, value]) => `${key}=${encodeURIComponent(value).replaceAll("%2C", ",").replaceAll("%3A", ":")}`)
    .join("&");
  history.replaceState(null, "", `#${text}`);
}

/** Follow the address, now and when it changes. */
export function onLink({ cell, episode }) {
  const follow = async () => {
    const parts = new URLSearchParams(location.hash.slice(1));
    if (parts.has("cell")) {
      const [row, column, before] = parts.get("cell").split(",").map(Number);
      await cell(row, column, before);
    }
    if (parts.has("episode")) await episode(parts.get("episode"), parts.get("before"));
  };
  addEventListener("hashchange", follow);
  return follow();
}
