/** Values as people read them. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const date = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

const UNITS = ["B", "kB", "MB", "GB", "TB"];

export const count = (value) => whole.format(value);
export const percent = (value) => `${whole.format(Math.floor(value))}%`;
export const day = (timestamp) => date.format(new Date(timestamp));
export const when = (timestamp) => moment.format(new Date(timestamp));

/** 38123456 → "38.1 MB" (decimal units, as in a file manager). */
export function bytes(value) {
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit < 2 ? whole.format(value) : tenth.format(value)} ${UNITS[unit]}`;
}

/** 75 → "about 2 min"; an estimate is shown no finer than it is. */
export function duration(seconds) {
  if (seconds < 5) return "a few seconds";
  if (seconds < 55) return `about ${Math.ceil(seconds / 5) * 5} s`;
  if (seconds < 3300) return `about ${Math.ceil(seconds / 60)} min`;
  return `about ${tenth.format(seconds / 3600)} h`;
}

/** 43200, 21600 → "43,200 × 21,600". */
export const size = (width, height) => `${count(width)} × ${count(height)}`;

/** 43200, 21600 → "933 megapixels"; gigapixels from a thousand on. */
export function pixels(width, height) {
  const mega = (width * height) / 1e6;
  if (mega >= 1000) return `${tenth.format(mega / 1000)} gigapixels`;
  return `${mega < 10 ? tenth.format(mega) : whole.format(mega)} megapixels`;
}

/** The phase of a working dataset, in the contract's words. */
export function phase({ status, progress }) {
  if (status === "queued" || progress === "queued") return "Waiting in the queue";
  if (progress === "generating_tiles") return "Generating tiles…";
  return "Downloading…";
}

/** Whether no worker is at work on it: before the download, and between download and tiling. */
export const waiting = ({ state }) => state === "QUEUED" || state === "DOWNLOADED";

/** What is known beside the percent: counts, the time this phase will take, or what a waiting dataset waits for. */
export function details(status) {
  if (waiting(status)) return status.message ?? "";
  const parts = [];
  if (status.source) parts.push(size(status.source.width, status.source.height));
  if (status.progress === "downloading" && status.bytes_downloaded > 0) {
    parts.push(
      status.bytes_total
        ? `${bytes(status.bytes_downloaded)} of ${bytes(status.bytes_total)}`
        : `${bytes(status.bytes_downloaded)} so far`,
    );
    if (status.bytes_per_second) parts.push(`${bytes(status.bytes_per_second)}/s`);
  }
  if (status.progress === "generating_tiles" && status.tiles_total) {
    parts.push(`${count(status.tiles_done ?? 0)} of ${count(status.tiles_total)} tiles`);
  }
  if (status.eta_seconds != null) parts.push(`${duration(status.eta_seconds)} more`);
  if (status.attempt > 1) parts.push(`attempt ${status.attempt}`);
  return parts.join(" · ");
}

/** A part of an address as text; as it stands there where it is no valid encoding. */
export function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The file's name in a URL without its ending, as a first suggestion for a dataset's name: "…/blue_marble.jpg" → "blue marble". */
export function nameFromUrl(url) {
  try {
    const file = decoded(new URL(url).pathname.split("/").pop());
    return file.replace(/\.[a-z0-9]{2,5}$/i, "").replace(/[_+]+/g, " ").trim();
  } catch {
    return "";
  }
}
