/** The keys that a change is about, whether it has its messageId already or not; none for `clear`, which is about all. */
export function keysOf(
  change:
    | { method: "set"; params: { entries: readonly { key: string }[] } }
    | { method: "delete"; params: { keys: readonly string[] } }
    | { method: "clear" },
): string[] {
  switch (change.method) {
    case "set":
      return change.params.entries.map(({ key }) => key);
    case "delete":
      return [...change.params.keys];
    case "clear":
      return [];
  }
}
