/** A map with a bound, in the order of writing: many more than a host has VMs, so that none of the window is forgotten. */
const MAX_REMEMBERED = 10_000;

/** As the newest; the oldest makes room. */
export function putNewest<Value>(map: Map<string, Value>, key: string, value: Value): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > MAX_REMEMBERED && oldest !== undefined) map.delete(oldest);
}
