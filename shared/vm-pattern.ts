/** Patterns for the names of VMs: `*` stands for any characters, `?` for one; nothing else is special. */

export function isPattern(text: string): boolean {
  return /[*?]/.test(text);
}

/** Whether a name, a UUID or a pattern means that VM. */
export function matchesVm(pattern: string, { id, name }: { id: string; name: string }): boolean {
  // Asked of thousands of VMs at a time: few patterns are as long as a UUID, and only those are made lower case.
  const isId = pattern.length === id.length && pattern.toLowerCase() === id;
  return isId || matchesPattern(pattern, name);
}

/**
 * Patterns come from clients, so no regular expression is made of them: one with many stars could run for hours. This
 * takes time proportional to the lengths' product at worst.
 */
export function matchesPattern(pattern: string, text: string): boolean {
  let at = 0;
  let place = 0;
  /** After the last `*`, and where the text goes on if it stands for what was passed so far. */
  let atAfterStar: number | undefined;
  let placeAfterStar = 0;
  while (place < text.length) {
    if (pattern[at] === "*") {
      at += 1;
      atAfterStar = at;
      placeAfterStar = place;
    } else if (pattern[at] === "?" || pattern[at] === text[place]) {
      at += 1;
      place += 1;
    } else {
      if (atAfterStar === undefined) return false;
      placeAfterStar += 1;
      at = atAfterStar;
      place = placeAfterStar;
    }
  }
  while (pattern[at] === "*") at += 1;
  return at === pattern.length;
}
