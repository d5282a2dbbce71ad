/** Format values for people. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const significant = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const date = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

export const count = (value) => whole.format(value);
/** 0.0078125 → "0.00781"; 3920 → "3,920". For samples. */
export const number = (value) => (Number.isInteger(value) ? whole : significant).format(value);
export const percent = (value) => `${whole.format(Math.floor(value))}%`;
export const day = (timestamp) => date.format(new Date(timestamp));
export const when = (timestamp) => moment.format(new Date(timestamp));

/** 38123456 → "38.1 MB" (decimal units, as `amount` in pipeline/texts.py). */
export function bytes(value) {
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit < 2 || value >= 100 ? whole.format(value) : tenth.format(value)} ${UNITS[unit]}`;
}

const LENGTHS = [
  [1e-6, 1e-9, "nm"],
  [1e-3, 1e-6, "µm"],
  [1e-2, 1e-3, "mm"],
  [1, 1e-2, "cm"],
  [1e3, 1, "m"],
  [Infinity, 1e3, "km"],
];

/** 0.00123456 (metres) → "1.235 mm". */
export function length(metres) {
  // A hair more, so that 0.000001 is 1 µm although it is stored as a little less.
  const [, unit, name] = LENGTHS.find(([below]) => metres * (1 + 1e-9) < below);
  return `${significant.format(metres / unit)} ${name}`;
}

/** 75 → "about 2 min"; rounded, because it is an estimate. */
export function duration(seconds) {
  if (seconds < 5) return "a few seconds";
  if (seconds < 55) return `about ${Math.ceil(seconds / 5) * 5} s`;
  if (seconds < 3300) return `about ${Math.ceil(seconds / 60)} min`;
  return `about ${tenth.format(seconds / 3600)} h`;
}

/** 43200, 21600 → "43,200 × 21,600". */
export const size = (width, height) => `${count(width)} × ${count(height)}`;

/** 43200, 21600 → "933 megapixels"; gigapixels from a thousand megapixels on. */
export function pixels(width, height) {
  const mega = (width * height) / 1e6;
  if (mega >= 1000) return `${tenth.format(mega / 1000)} gigapixels`;
  return `${mega < 10 ? tenth.format(mega) : whole.format(mega)} megapixels`;
}

/** Return the phase of a dataset that is not finished. */
export function phase({ status, progress }) {
  if (status === "queued" || progress === "queued") return "Waiting in the queue";
  if (progress === "generating_tiles") return "Generating tiles…";
  return "Downloading…";
}

/** Whether a dataset waits for a worker: before the download, and between download and tiling. */
export const waiting = ({ state }) => state === "QUEUED" || state === "DOWNLOADED";

/** Return details of the progress: counts, the time left in this phase, or what a waiting dataset waits for. */
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
  if (status.eta_seconds != null) parts.push(`${duration(status.eta_seconds)} left`);
  if (status.attempt > 1) parts.push(`attempt ${status.attempt}`);
  return parts.join(" · ");
}

/** Decode a part of a URL; return it unchanged if its encoding is invalid. */
export function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Suggest a dataset's name from the file name in a URL: "…/blue_marble.jpg" → "blue marble". */
export function nameFromUrl(url) {
  try {
    const file = decoded(new URL(url).pathname.split("/").pop());
    return file.replace(/\.[a-z0-9]{2,5}$/i, "").replace(/[_+]+/g, " ").trim();
  } catch {
    return "";
  }
}
