import { expect, it } from "vitest";
import { domainStatus } from "../../../../shared/libvirt/domain-state.ts";

it.each([
  ["running", "Running"],
  ["running (booted)", "Running"],
  ["in shutdown", "Running"],
  ["paused (user)", "Paused"],
  ["shut off", "Stopped"],
  ["shut off (destroyed)", "Stopped"],
  ["shut off (unknown)", "Stopped"],
  ["shut off (crashed)", "Crashed"],
  ["crashed (panicked)", "Crashed"],
  ["pmsuspended (unknown)", "Suspended"],
  ["no state", "Unknown"],
  ["", "Unknown"],
])("a domain that is '%s' is %s", (printed, status) => {
  expect(domainStatus(printed)).toBe(status);
});
