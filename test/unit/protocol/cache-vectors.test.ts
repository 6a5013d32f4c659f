import { expect, it } from "vitest";
import { type Caller, type Position, toWireEntry } from "../../../shared/protocol/cache.ts";
import { type Params, requests } from "../../../shared/protocol/message.ts";
import { type CacheStep, cacheVectors, writtenOut } from "../../vectors/load.ts";
import { at, KeptCache, refusal } from "./caches.ts";

function perform(kept: KeptCache, step: CacheStep): unknown {
  const { atMs, by, mayChangePrefix = "", quota } = step;
  const now = at(atMs);
  const caller: Caller = { setBy: by, mayChange: (key) => key.startsWith(mayChangePrefix), ...(quota && { quota }) };
  const params = writtenOut(step.params);
  switch (step.method) {
    case "set": {
      const checked: Params<"set"> = requests.set.params.parse(params);
      return kept.change((cache) => cache.set(checked, caller, now));
    }
    case "delete": {
      const checked = requests.delete.params.parse(params);
      return kept.change((cache) => cache.delete(checked, caller));
    }
    case "clear": {
      const checked = requests.clear.params.parse(params);
      return kept.change((cache) => cache.clear(checked, caller));
    }
    case "get":
      return { entry: toWireEntry(kept.current.get(requests.get.params.parse(params).key), now) };
    case "list": {
      const { entries, ...page } = kept.current.list(requests.list.params.parse(params), now);
      const withoutValue = entries.filter(({ value }) => value === undefined).map(({ key }) => key);
      return { ...page, keys: entries.map(({ key }) => key), withoutValue };
    }
    case "expire":
      return { deleted: kept.change((cache) => cache.expire(now)) };
    case "changes": {
      const { after, prefix = "" } = params as { after: Position; prefix?: string };
      const { changes, reached, more } = kept.current.changesAfter(after, prefix, now);
      return { changes, reached: reached.revision, more };
    }
  }
}

it.each(cacheVectors)("cache/$name: $rule", ({ limit, steps }) => {
  const kept = new KeptCache({ limit });
  for (const step of steps) check(kept, step);
});

/** What was deleted when is known within an epoch only. */
const withoutHistory = cacheVectors.filter(({ steps }) => {
  return !steps.some(({ method, params }) => method === "changes" || "ifRevision" in params);
});

it.each(withoutHistory)("cache/$name holds when the agent is restarted after each step", ({ limit, steps }) => {
  let kept = new KeptCache({ limit });
  for (const step of steps) {
    check(kept, step);
    kept = new KeptCache({ limit, contents: kept.current.contents() });
  }
});

function check(kept: KeptCache, step: CacheStep): void {
  if (step.error) expect(refusal(() => perform(kept, step))).toMatchObject(step.error);
  else expect(perform(kept, step)).toMatchObject(step.result ?? {});
}
