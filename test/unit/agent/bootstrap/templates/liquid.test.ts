import { describe, expect, test } from "vitest";
import { MAX_RENDERED_LENGTH, parseLiquid } from "../../../../../agent/bootstrap/templates/liquid.ts";
import type { TypedValue } from "../../../../../agent/bootstrap/templates/typed-values.ts";

function rendered(text: string, values: Record<string, TypedValue> = {}): string {
  return parseLiquid(text).render(values);
}

describe("a text", () => {
  test.each<{ text: string; x: TypedValue; becomes: string }>([
    { text: "{{ x }}", x: null, becomes: "" },
    { text: "{% if x %}yes{% else %}no{% endif %}", x: null, becomes: "no" },
    { text: "{% if x %}yes{% else %}no{% endif %}", x: false, becomes: "no" },
    { text: "{{ x | default: 'd' }}", x: null, becomes: "d" },
    { text: "{{ x | plus: 1 }}", x: 1.5, becomes: "2.5" },
    { text: "{{ x }}", x: "{{ y }}{% if %}", becomes: "{{ y }}{% if %}" },
    { text: "{% for i in x %}{{ i }};{% endfor %}", x: ["a", "b"], becomes: "a;b;" },
    { text: "{{ x.a[0].b }}", x: { a: [{ b: "c" }] }, becomes: "c" },
    { text: "{% if x.tls %}s{% endif %}{{ x.port | default: 80 }}", x: {}, becomes: "80" },
    { text: "{{ x | json }}", x: { a: [1, null] }, becomes: '{"a":[1,null]}' },
    { text: "{{ x | date: '%Y-%m-%d %H:%M %z' }}", x: "2026-01-02T03:04:05+02:00", becomes: "2026-01-02 01:04 +0000" },
  ])("'$text' of $x becomes '$becomes'", ({ text, x, becomes }) => {
    expect(rendered(text, { x })).toBe(becomes);
  });

  test.each<{ text: string; x: TypedValue; problem: RegExp }>([
    { text: "\n{{ x.nmae }}", x: { name: 1 }, problem: /^undefined variable: x\.nmae, line:2, col:4$/ },
    { text: "{{ x.constructor.name }}", x: { a: 1 }, problem: /undefined variable/ },
    { text: "{{ x }}", x: { a: 1 }, problem: /an object cannot be printed as it is; use '\| json'/ },
    {
      text: "{% for i in (1..9) %}{{ x }}{% endfor %}",
      x: "y".repeat(MAX_RENDERED_LENGTH / 8),
      problem: /becomes longer than/,
    },
    { text: "{% for i in (1..1000000000) %}{{ x }}{% endfor %}", x: "y", problem: /memory alloc limit exceeded/ },
  ])("'$text' of $x is refused", ({ text, x, problem }) => {
    expect(() => rendered(text, { x })).toThrow(problem);
  });

  test("is the same in every time zone", () => {
    const zone = process.env["TZ"];
    try {
      process.env["TZ"] = "Asia/Tokyo";
      expect(rendered("{{ 0 | date: '%Y-%m-%d %H:%M:%S' }}")).toBe("1970-01-01 00:00:00");
    } finally {
      if (zone === undefined) delete process.env["TZ"];
      else process.env["TZ"] = zone;
    }
  });
});
