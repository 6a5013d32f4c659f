import * as fc from "fast-check";
import { expect, it } from "vitest";
import { isPattern, matchesVm } from "../../shared/vm-pattern.ts";

const vm = { id: "6ba7b810-9dad-11d1-80b4-00c04fd430c8", name: "web[1].a" };

it.each(["*", "web*", "*a", "w*.a", "web[?].a", "web[1].a", "web[1].a*", "6BA7B810-9DAD-11D1-80B4-00C04FD430C8"])(
  "'%s' means the VM",
  (pattern) => {
    expect(matchesVm(pattern, vm)).toBe(true);
  },
);

it.each(["", "web", "WEB*", "web[2].a", "web{[1].a,x}", "?", "web[1].a?", "6ba7b810*"])("'%s' does not", (pattern) => {
  expect(matchesVm(pattern, vm)).toBe(false);
});

it("is a pattern with a star or a question mark only: other names may have brackets", () => {
  expect(["a*", "a?", "a[1]", "a{1,2}"].map(isPattern)).toEqual([true, true, false, false]);
});

it("takes no time for a pattern that a regular expression would try for hours", () => {
  expect(matchesVm("*a".repeat(1_000), { id: "", name: "a".repeat(999) })).toBe(false);
});

it("means what its regular expression would mean", () => {
  const text = fc.string({ unit: fc.constantFrom("a", "b", ".", "\n"), maxLength: 12 });
  const pattern = fc.string({ unit: fc.constantFrom("a", "b", ".", "*", "?"), maxLength: 8 });
  fc.assert(
    fc.property(pattern, text, (glob, name) => {
      const source = glob.replace(/[.*?]/g, (sign) => (sign === "." ? "\\." : sign === "*" ? "[^]*" : "[^]"));
      expect(matchesVm(glob, { id: "none", name })).toBe(new RegExp(`^${source}$`).test(name));
    }),
    { numRuns: 2000 },
  );
});
