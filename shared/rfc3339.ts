/** A moment, milliseconds since 1970, as messages and answers write it: RFC 3339 in UTC. */
export function rfc3339(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
