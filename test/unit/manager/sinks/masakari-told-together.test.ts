import { expect, test } from "vitest";
import { ToldTogether } from "../../../../manager/sinks/masakari/told-together.ts";
import { web1, web2 } from "./events.ts";

const HUNG = { vmId: web1.id, event: "QEMU_GUEST_AGENT_ERROR" } as const;

test("a notification tells of what was there when it was sent, of the same payload, and of nothing later", () => {
  const together = new ToldTogether();
  for (const position of [3, 7, 5]) together.see(HUNG, position);
  const lastSeen = together.lastSeen(HUNG);
  together.see(HUNG, 8);
  expect(together.has(HUNG, 3)).toBe(false);
  together.tell(HUNG, lastSeen);
  expect([3, 5, 7, 8].map((position) => together.has(HUNG, position))).toEqual([true, true, true, false]);
  expect(together.has({ ...HUNG, event: "LIFECYCLE" }, 3)).toBe(false);
  expect(together.has({ ...HUNG, vmId: web2.id }, 3)).toBe(false);
});
