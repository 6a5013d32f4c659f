/** Text for people: what came from elsewhere made harmless, and ages in words. */

// C0 and C1 controls, DEL, and the characters that reorder or hide text on a terminal (Unicode's bidirectional controls).
const UNSAFE_CHARACTERS =
  /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|\p{Surrogate}/gu;

const SECOND = { name: "second", ms: 1_000 };
const UNITS = [
  { name: "day", ms: 86_400_000 },
  { name: "hour", ms: 3_600_000 },
  { name: "minute", ms: 60_000 },
  SECOND,
];

/** Escapes what a terminal would obey instead of show, as `\u001b`. For all that a guest had a hand in. */
export function printable(text: string): string {
  return text.replace(UNSAFE_CHARACTERS, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

/** An age as ovm_vmmessage words it: `2 minutes`, `1 hour`, `0 seconds`. Rounded down to the largest unit. */
export function ageInWords(ms: number): string {
  const unit = UNITS.find((candidate) => ms >= candidate.ms) ?? SECOND;
  const count = Math.floor(ms / unit.ms);
  return `${count} ${unit.name}${count === 1 ? "" : "s"}`;
}
