import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { managerEvent, vmEvent } from "../../../../manager/events/event.ts";
import { bindingKey, type EventTopic, matchesTopic, routingKey } from "../../../../manager/events/topic.ts";

const vm = { id: "172dd6f8-7d36-44ef-9a03-3b342034aaa4", name: "web" };

describe("the key of a published event", () => {
  it("is CloudStack's, byte for byte", () => {
    expect(routingKey(vmEvent("VM.START", vm, 0))).toBe(
      "management-server.ActionEvent.VM-START.VirtualMachine.172dd6f8-7d36-44ef-9a03-3b342034aaa4",
    );
  });

  it("has a star where the manager's own events have no UUID", () => {
    expect(routingKey(managerEvent("SINK.DISABLED", 0))).toBe(
      "management-server.AlertEvent.SINK-DISABLED.ManagementServer.*",
    );
  });

  it("has five parts whatever a guest calls its event", () => {
    expect(routingKey(vmEvent("GUEST.A.B..C", vm, 0))).toBe(`guest.ActionEvent.GUEST-A-B--C.VirtualMachine.${vm.id}`);
  });
});

describe("the key of a binding", () => {
  it.each<[EventTopic, string]>([
    [{}, "*.*.*.*.*"],
    [{ resourceType: "VirtualMachine" }, "*.*.*.VirtualMachine.*"],
    [{ resourceType: "Network" }, "*.*.*.Network.*"],
    [{ eventCategory: "ActionEvent" }, "*.ActionEvent.*.*.*"],
    [
      { eventCategory: "ActionEvent", resourceType: "VirtualMachine", resourceUUID: vm.id },
      "*.ActionEvent.*.VirtualMachine.172dd6f8-7d36-44ef-9a03-3b342034aaa4",
    ],
    [{ eventType: "VM.START" }, "*.*.VM-START.*.*"],
    [{ eventSource: "", eventType: "" }, "*.*.*.*.*"],
  ])("of %j is %s", (topic, key) => {
    expect(bindingKey(topic)).toBe(key);
  });
});

describe("a topic", () => {
  const part = fc.constantFrom(undefined, "", "a", "b", "a.b", "a-b", "*");
  const topic = fc.record({
    eventSource: part,
    eventCategory: part,
    eventType: part,
    resourceType: part,
    resourceUUID: part,
  });
  const published = fc.tuple(part, part, part, part, part);

  it("selects what a topic exchange would", () => {
    fc.assert(
      fc.property(topic, published, (topic, [source, category, type, resourceType, resourceUUID]) => {
        const event = { source, category, type, resourceType, resourceUUID } as never;
        expect(matchesTopic(topic, event)).toBe(exchangeMatches(bindingKey(topic), routingKey(event)));
      }),
      { numRuns: 2_000 },
    );
  });
});

/** AMQP 0-9-1, section 3.1.3.3: `*` is one word, `#` any number. */
function exchangeMatches(binding: string, key: string): boolean {
  return wordsMatch(binding.split("."), key.split("."));
}

function wordsMatch([first, ...rest]: string[], words: string[]): boolean {
  if (first === undefined) return words.length === 0;
  if (first === "#") return wordsMatch(rest, words) || (words.length > 0 && wordsMatch(["#", ...rest], words.slice(1)));
  return words.length > 0 && (first === "*" || first === words[0]) && wordsMatch(rest, words.slice(1));
}
