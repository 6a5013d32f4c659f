/** Units through a systemctl that tells what it was asked, and answers what the test wrote for it. */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Units } from "../../../../agent/bootstrap/units.ts";

const never = new AbortController().signal;
const DEFERRED_VERBS = ["--no-block", "reload-or-restart", "app.service"];

let directory: string;
let units: Units;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "units-"));
  // Without a file for the unit it says what systemctl does; what it does for a verb is a script of the verb's name.
  const systemctl = join(directory, "systemctl");
  writeFileSync(
    systemctl,
    `#!/bin/sh
cd ${directory} || exit 9
shift 2
echo "$*" >> calls
if [ "$1" = show ]; then
  [ "$3" = -- ] || exit 9
  shift 3
  for unit; do
    if [ -e "./$unit" ]; then cat "./$unit"; else printf 'LoadState=not-found\\nActiveState=inactive\\nAfter=\\n'; fi
    echo
  done
  exit 0
fi
if [ "$1" = --no-block ]; then shift; fi
if [ -e "$1" ]; then exec sh "$1"; fi
`,
  );
  chmodSync(systemctl, 0o755);
  units = new Units(systemctl);
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

/** What `systemctl show` says of a unit. */
function unitIs(name: string, properties: Record<string, string>): void {
  const all = {
    LoadState: "loaded",
    ActiveState: "active",
    After: "sysinit.target",
    NeedDaemonReload: "no",
    ...properties,
  };
  const lines = Object.entries(all).map(([property, value]) => `${property}=${value}\n`);
  writeFileSync(join(directory, name), lines.join(""));
}

function does(verb: string, script: string): void {
  writeFileSync(join(directory, verb), `cd ${directory}\n${script}`);
}

/** What systemctl was told to do. */
function orders(): string[] {
  const calls = readFileSync(join(directory, "calls"), "utf8").trimEnd().split("\n");
  return calls.filter((call) => !call.startsWith("show "));
}

function reload(signal = never): Promise<string> {
  return units.act({ type: "reload", unit: "app.service" }, signal);
}

describe("a unit", () => {
  test("is reloaded where it can, or restarted, and waited for", async () => {
    unitIs("app.service", {});
    does("reload-or-restart", "sleep 0.2; touch reloaded");
    expect(await reload()).toBe("done");
    expect(existsSync(join(directory, "reloaded"))).toBe(true);
    expect(await units.act({ type: "restart", unit: "app.service" }, never)).toBe("done");
    expect(orders()).toEqual(["reload-or-restart app.service", "restart app.service"]);
  });

  test("that waits to be started is not waited for", async () => {
    unitIs("app.service", { ActiveState: "inactive", Job: "123" });
    expect(await reload()).toBe("deferred");
    expect(orders()).toEqual([DEFERRED_VERBS.join(" ")]);
  });

  test.each(["0", ""])("that nobody starts (Job=%s) is started and waited for", async (job) => {
    unitIs("app.service", { ActiveState: "inactive", Job: job });
    expect(await reload()).toBe("done");
  });

  test.each(["vmmessage-configured.target", "vmmessage-bootstrap.service"])(
    "that comes after %s is not waited for until the machine is configured",
    async (after) => {
      unitIs("app.service", { After: `sysinit.target ${after} network.target` });
      expect(await reload()).toBe("deferred");
      unitIs("vmmessage-configured.target", { ActiveState: "inactive" });
      expect(await reload()).toBe("deferred");
      unitIs("vmmessage-configured.target", { ActiveState: "active" });
      expect(await reload()).toBe("done");
      expect(orders()).toEqual([DEFERRED_VERBS.join(" "), DEFERRED_VERBS.join(" "), "reload-or-restart app.service"]);
    },
  );

  describe("whose start pulls in others, while the machine is being configured,", () => {
    beforeEach(() => {
      unitIs("vmmessage-configured.target", { ActiveState: "inactive", Job: "7" });
      unitIs("app.service", { ActiveState: "inactive", Requires: "-.mount db.service", Wants: "network.target" });
      unitIs("-.mount", {});
      unitIs("network.target", {});
    });

    test("is waited for when none of them waits for the configuration", async () => {
      unitIs("db.service", { ActiveState: "inactive", Wants: "app.service network.target" });
      expect(await reload()).toBe("done");
    });

    test.each([
      { waits: "one of them", db: { After: "vmmessage-configured.target" } },
      { waits: "one that has failed", db: { ActiveState: "failed", After: "vmmessage-configured.target" } },
      { waits: "what one of them pulls in", db: { BindsTo: "more.service" } },
      { waits: "what one of them wants", db: { Wants: "more.service" } },
      { waits: "what one of them comes after, which is to be started,", db: { After: "queued.service" } },
    ])("is not waited for when $waits waits for it", async ({ db }) => {
      unitIs("db.service", { ActiveState: "inactive", ...db });
      unitIs("more.service", { ActiveState: "inactive", After: "vmmessage-bootstrap.service" });
      unitIs("queued.service", { ActiveState: "inactive", Job: "9", After: "vmmessage-configured.target" });
      expect(await reload()).toBe("deferred");
      expect(orders()).toEqual([DEFERRED_VERBS.join(" ")]);
    });

    test.each([
      { what: "one that runs already", db: { After: "vmmessage-configured.target", ActiveState: "active" } },
      { what: "one that nobody starts", db: { After: "idle.service" } },
    ])("is waited for when only $what comes after it", async ({ db }) => {
      unitIs("db.service", { ActiveState: "inactive", ...db });
      unitIs("idle.service", { ActiveState: "inactive", After: "vmmessage-configured.target" });
      expect(await reload()).toBe("done");
    });

    test("is waited for when nobody is about to reach the target", async () => {
      unitIs("db.service", { ActiveState: "inactive", After: "vmmessage-configured.target" });
      unitIs("vmmessage-configured.target", { ActiveState: "inactive", Job: "" });
      expect(await reload()).toBe("done");
    });

    test("is not waited for when they are too many to tell", async () => {
      unitIs("db.service", {
        ActiveState: "inactive",
        Wants: Array.from({ length: 200 }, (_, i) => `${i}.service`).join(" "),
      });
      expect(await reload()).toBe("deferred");
    });
  });

  test("whose file has changed is read again first", async () => {
    unitIs("app.service", { NeedDaemonReload: "yes" });
    does("daemon-reload", "sed -i s/NeedDaemonReload=yes/NeedDaemonReload=no/ app.service");
    expect(await reload()).toBe("done");
    expect(orders()).toEqual(["daemon-reload", "reload-or-restart app.service"]);
  });

  test("whose file has just been made is found", async () => {
    does("daemon-reload", "printf 'LoadState=loaded\\nActiveState=inactive\\n' > app.service");
    expect(await reload()).toBe("done");
  });

  test("that is not there is an error", async () => {
    await expect(reload()).rejects.toThrow("there is no unit app.service; is its package installed?");
    expect(orders()).toEqual(["daemon-reload"]);
  });

  test("that is masked is an error", async () => {
    unitIs("app.service", { LoadState: "masked" });
    await expect(reload()).rejects.toThrow("app.service cannot be used: systemd says that it is masked");
  });

  test("that fails says so, with what systemctl printed and the unit's result", async () => {
    unitIs("app.service", { Result: "exit-code" });
    does("reload-or-restart", "echo 'Job for app.service failed.' >&2; exit 1");
    await expect(reload()).rejects.toMatchObject({
      name: "ModuleError",
      message: "'systemctl reload-or-restart app.service' failed: exit code 1 (the unit's result: exit-code)",
      lines: ["Job for app.service failed."],
    });
  });

  test("that hangs is left when the time is up", async () => {
    unitIs("app.service", {});
    does("reload-or-restart", "touch begun; exec sleep 1000");
    const stop = new AbortController();
    const outcome = reload(stop.signal);
    outcome.catch(() => undefined);
    await vi.waitUntil(() => existsSync(join(directory, "begun")));
    stop.abort();
    await expect(outcome).rejects.toThrow("'systemctl reload-or-restart app.service' failed: it was stopped");
  });

  test("is queued for who cannot wait", async () => {
    unitIs("app.service", {});
    await units.queue({ type: "restart", unit: "app.service" }, never);
    expect(orders()).toEqual(["--no-block restart app.service"]);
  });

  test("needs systemd", async () => {
    const none = new Units("/does/not/exist/systemctl");
    await expect(none.act({ type: "restart", unit: "app.service" }, never)).rejects.toThrow(
      "units need systemd, which this machine does not seem to have: '/does/not/exist/systemctl' cannot be started: ENOENT",
    );
  });
});
