// Which licences may be in what we ship.

/** SPDX identifiers (spdx.org/licenses) that ask for no more than that their text is passed on. */
export const permissiveLicences = [
  ...["0BSD", "Apache-2.0", "blessing", "BlueOak-1.0.0", "BSD-2-Clause", "BSD-3-Clause", "ISC"],
  ...["MIT", "MIT-0", "Unicode-3.0", "Unlicense", "Zlib"],
] as const;
export type PermissiveLicence = (typeof permissiveLicences)[number];

/** Throws when the licence of `subject` is another one, or none. */
export function permissive(licence: string | undefined, subject: string): PermissiveLicence {
  const allowed = permissiveLicences.find((id) => id === licence);
  if (allowed !== undefined) return allowed;
  const seen = licence === undefined ? "names no licence" : `is under "${licence}"`;
  throw new Error(
    `${subject} ${seen}; what we ship has to be under one of ${permissiveLicences.join(", ")} ` +
      "(packaging/licences/permissive.ts)",
  );
}
