/** The guide to an inventory in a table, as it is written; and what events that come twice or late do to it. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { managerEvent } from "../../../manager/events/event.ts";
import { eventJson } from "../../../manager/sinks/event-json.ts";
import { HOST, nextEvent, NOON } from "../../unit/manager/sinks/events.ts";
import { linksOf, play } from "./guide.ts";
import { GuideLab, root } from "./lab.ts";

const program = join(root, "examples", "inventory-table", "update-inventory.py");
const KEY = "com.example.owner";

test("the guide's commands print what it shows", { timeout: 120_000 }, async () => {
  await using lab = await GuideLab.open({ replacements: [] });
  await play("inventory-table.md", lab);
});

test("the guide leads to files that are there", () => {
  expect(linksOf("inventory-table.md").filter((path) => !existsSync(path))).toEqual([]);
});

test("each row is what the newest event said, whatever comes twice, late or with quotes in it", async () => {
  const directory = await mkdtemp(join(tmpdir(), "inventory-"));
  onTestFinished(() => rm(directory, { recursive: true }));
  const file = join(directory, "inventory.db");
  const hostile = "'); DROP TABLE vms; --";
  const running = nextEvent({ newState: "Running" });
  const set = nextEvent({ type: "KEY.SET", data: { key: KEY }, value: { value: hostile } });
  const stopped = nextEvent({ type: "VM.STOPPED", newState: "Stopped" });
  const removed = nextEvent({ type: "KEY.DELETED", data: { key: KEY } });
  const undefinedVm = nextEvent({ type: "VM.UNDEFINED", newState: undefined });
  const ofManager = { ...managerEvent("SINK.TEST", Date.now()), id: "x", sequence: 1, position: 1 };
  const rowsAfter = async (...events: (typeof running)[]): Promise<unknown[]> => {
    for (const event of events) {
      const ran = promisify(execFile)(program, [file]);
      ran.child.stdin?.end(eventJson(event, "cloudevents", HOST));
      await ran;
    }
    using database = new DatabaseSync(file, { readOnly: true });
    const sql = "SELECT name, host, state, value FROM vms LEFT JOIN facts USING (uuid)";
    return database
      .prepare(sql)
      .all()
      .map((row) => Object.values(row));
  };
  expect(await rowsAfter(ofManager)).toEqual([]);
  expect(await rowsAfter(running, set, running, set)).toEqual([["web1", HOST, "Running", hostile]]);
  expect(await rowsAfter(stopped, running)).toEqual([["web1", HOST, "Stopped", hostile]]);
  expect(await rowsAfter(removed, set)).toEqual([["web1", HOST, "Stopped", null]]);
  expect(await rowsAfter(undefinedVm, stopped)).toEqual([["web1", HOST, "Undefined", null]]);
  const backLater = { ...nextEvent({ newState: "Running", time: NOON + 1 }), sequence: 1 };
  expect(await rowsAfter(backLater)).toEqual([["web1", HOST, "Running", null]]);
});
