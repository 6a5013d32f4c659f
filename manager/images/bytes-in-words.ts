const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"];

/** `1.5 GiB`, `512 bytes` */
export function bytesInWords(bytes: number): string {
  const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), UNITS.length - 1);
  const amount = bytes / 1024 ** power;
  return `${power === 0 ? amount : amount.toFixed(1)} ${UNITS[power] ?? ""}`;
}
