/** What configuration modules are run for: ovm-template-config's targets. */
export const targets = [
  "configure",
  "unconfigure",
  "reconfigure",
  "cleanup",
  "suspend",
  "resume",
  "migrate",
  "shutdown",
] as const;
export type Target = (typeof targets)[number];
