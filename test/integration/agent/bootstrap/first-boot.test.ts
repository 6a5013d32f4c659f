import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { REPORT_KEY } from "../../../../shared/bootstrap.ts";
import { BootstrapLab } from "./lab.ts";

const remembers = { script: 'cat > "$WORK/values"; echo x >> "$WORK/runs"' };
const outcomes = (messages: { name: string; data: object }[]) => {
  return messages.filter(({ name }) => name === "bootstrap.module").map(({ data }) => data as Record<string, unknown>);
};

describe("a first boot", () => {
  test("configures from keys that were complete before it, once, and tells the host of each step", async () => {
    await using lab = await BootstrapLab.open({ app: remembers });
    await lab.commit({ "com.example.port": "8080" });
    const first = await lab.run("bootstrap", "--wait", "20");
    expect(first.stderr).toMatch(/^agent: configure: all 4 modules are done/m);
    expect(first.exitCode).toBe(0);
    expect(JSON.parse((await lab.left("values")) ?? "")).toMatchObject({ "com.example.port": "8080" });
    const second = await lab.run("bootstrap");
    expect(second).toMatchObject({ exitCode: 0, stderr: "agent: this machine is configured already\n" });
    expect(await lab.left("runs")).toBe("x\n");
    expect(await lab.report()).toMatchObject({ state: "ok", commit: "c1", target: "configure" });
    const messages = await lab.messages();
    expect(messages.map(({ name }) => name)).toEqual([
      "bootstrap.started",
      ...Array<string>(4).fill("bootstrap.module"),
      "bootstrap.ended",
    ]);
    expect(messages.at(-1)?.data).toMatchObject({ outcome: "ok", commit: "c1" });
  });

  test("waits for the commit, whatever else is set before", async () => {
    await using lab = await BootstrapLab.open({ app: remembers });
    const booting = lab.start("bootstrap", "--wait", "60");
    await lab.report(({ state }) => state === "waiting");
    await lab.agent.run("-p", "com.example.port=1");
    await lab.agent.run("-p", "com.example.port=2");
    expect((await lab.report()).state).toBe("waiting");
    expect(await lab.left("runs")).toBeUndefined();
    await lab.commit({ "com.example.port": "3" });
    expect(await once(booting, "exit")).toEqual([0, null]);
    expect(JSON.parse((await lab.left("values")) ?? "")).toMatchObject({ "com.example.port": "3" });
  });

  test("waits for an agent that is not up yet", async () => {
    await using lab = await BootstrapLab.open({ app: remembers });
    await lab.commit({});
    await lab.agent.kill("SIGTERM");
    const booting = lab.start("bootstrap", "--wait", "60");
    await lab.agent.start();
    expect(await once(booting, "exit")).toEqual([0, null]);
    expect(await lab.left("runs")).toBe("x\n");
  });

  test("fails in time when no commit comes, and says so to the host", async () => {
    await using lab = await BootstrapLab.open({ app: remembers });
    const { exitCode, stderr } = await lab.run("bootstrap", "--wait", "1");
    expect(exitCode).toBe(10);
    expect(stderr).toBe("agent: configure: no commit came within 1 s\n");
    expect(await lab.left("runs")).toBeUndefined();
    expect(await lab.messages()).toMatchObject([
      { name: "bootstrap.ended", data: { outcome: "error", reason: "no commit came within 1 s", modules: [] } },
    ]);
  });

  test("goes on with defaults when no commit comes, where that is wanted", async () => {
    await using lab = await BootstrapLab.open({ app: remembers }, { otherwise: "defaults", wait: "1s" });
    await lab.agent.run("-p", "com.example.port=2");
    expect((await lab.run("bootstrap")).exitCode).toBe(0);
    expect(JSON.parse((await lab.left("values")) ?? "")).toMatchObject({ "com.example.port": "2" });
    expect(await lab.report()).toMatchObject({ state: "ok", commit: null });
  });

  test("comes to its end where there is no agent at all", async () => {
    await using lab = await BootstrapLab.open({ app: remembers });
    await lab.agent.kill("SIGTERM");
    const { exitCode, stderr } = await lab.run("bootstrap", "--wait", "1");
    expect(exitCode).toBe(10);
    expect(stderr).toContain("agent: configure: no agent answered within 1 s\n");
  });

  test("takes the root's password for the commit, as Oracle VM's templates do, and shows it nowhere", async () => {
    await using lab = await BootstrapLab.open({ app: remembers }, { directories: [] });
    await lab.configure({});
    await lab.run("config", "disable", "root-password", "configure");
    await lab.agent.run("-p", "com.oracle.linux.root-password=geheimnis");
    expect((await lab.run("bootstrap", "--wait", "20")).exitCode).toBe(0);
    expect(await lab.report()).toMatchObject({ state: "ok", commit: null });
    expect(JSON.stringify(await lab.messages())).not.toContain("geheimnis");
  });
});

describe("modules", () => {
  test("run in the order of their target, and what one gives back the next one gets", async () => {
    await using lab = await BootstrapLab.open({
      last: { header: { configure: 70 }, script: 'cat > "$WORK/values"; echo last >> "$WORK/order"' },
      first: { header: { configure: 30 }, script: 'echo first >> "$WORK/order"; echo \'{"com.example.url":"u"}\'' },
    });
    await lab.commit({});
    expect((await lab.run("bootstrap", "--wait", "20")).exitCode).toBe(0);
    expect(await lab.left("order")).toBe("first\nlast\n");
    expect(JSON.parse((await lab.left("values")) ?? "")).toMatchObject({ "com.example.url": "u" });
    expect(outcomes(await lab.messages()).find(({ module }) => module === "first")).toMatchObject({
      results: { "com.example.url": "u" },
    });
  });

  test("that fail, hang, print garbage or 10 MB are told each with its reason, and the others run", async () => {
    await using lab = await BootstrapLab.open({
      fails: { script: "echo no database >&2; exit 3" },
      floods: { script: "exec yes" },
      garbles: { script: "echo this is no JSON" },
      hangs: { header: { configure: 50, timeout: 1 }, script: "trap '' TERM; while :; do sleep 1; done" },
      works: { header: { configure: 99 }, script: 'echo done > "$WORK/works"' },
    });
    await lab.commit({});
    const { exitCode, stderr } = await lab.run("bootstrap", "--wait", "20");
    expect(exitCode).toBe(2);
    expect(stderr).toContain("of 8 modules these failed: fails, floods, garbles, hangs");
    expect(await lab.left("works")).toBe("done\n");
    const told = outcomes(await lab.messages());
    const reasonOf = (name: string) => told.find(({ module }) => module === name)?.["reason"];
    expect(reasonOf("fails")).toContain("exit code 3");
    expect(reasonOf("floods")).toContain("more than");
    expect(reasonOf("garbles")).toContain("JSON");
    expect(reasonOf("hangs")).toContain("it did not end within 1 s");
    expect(await lab.report()).toMatchObject({ state: "error" });
  });

  test("that lack a value they need are told, and do not run", async () => {
    const parameters = [{ key: "com.example.needed", description: "needed", required: true }];
    await using lab = await BootstrapLab.open({ app: { ...remembers, parameters } });
    await lab.commit({});
    expect((await lab.run("bootstrap", "--wait", "20")).exitCode).toBe(2);
    expect(await lab.left("runs")).toBeUndefined();
    const report = await lab.report();
    expect(report.modules.find(({ name }) => name === "app")).toMatchObject({
      reason: "needs com.example.needed, which is not set",
    });
  });

  test("that are disabled for a target do not run", async () => {
    await using lab = await BootstrapLab.open({ app: remembers });
    expect((await lab.run("config", "disable", "app", "configure")).exitCode).toBe(0);
    await lab.commit({});
    expect((await lab.run("bootstrap", "--wait", "20")).exitCode).toBe(0);
    expect(await lab.left("runs")).toBeUndefined();
  });
});

describe("a secret", () => {
  const parameters = [{ key: "com.example.password", description: "password", password: true }];

  test("is given to the module that names it and to no other, reported nowhere, and erased after use", async () => {
    await using lab = await BootstrapLab.open({
      blind: { script: 'cat > "$WORK/blind"' },
      db: { parameters, script: 'cat | tee "$WORK/db" >&2; exit 1' },
    });
    await lab.commit({}, { "com.example.password": "geheimnis", "com.example.other": "nobody's" });
    await lab.run("bootstrap", "--wait", "20");
    expect(await lab.left("blind")).not.toContain("geheimnis");
    expect(await lab.left("db")).toContain("geheimnis");
    expect((await lab.agent.run("-g", "com.example.password")).exitCode).toBe(1);
    expect((await lab.agent.run("-g", "com.example.other")).stdout.toString()).toBe("nobody's\n");
    const state = await readFile(join(lab.agent.stateDirectory, "bootstrap", "state.json"), "utf8");
    const told = JSON.stringify(await lab.messages()) + (await lab.agent.list()).join("") + state;
    expect(told).toContain("***");
    expect(told).not.toContain("geheimnis");
  });

  test("that was set again while it was used is kept", async () => {
    await using lab = await BootstrapLab.open({
      db: { parameters, script: 'touch "$WORK/begun"; while [ ! -e "$WORK/go" ]; do sleep 0.1; done' },
    });
    await lab.commit({}, { "com.example.password": "old" });
    const booting = lab.start("bootstrap", "--wait", "20");
    await vi.waitUntil(() => lab.left("begun").then((text) => text !== undefined), { timeout: 20_000 });
    await lab.commit({}, { "com.example.password": "new" });
    await writeFile(join(lab.work, "go"), "");
    expect(await once(booting, "exit")).toEqual([0, null]);
    expect((await lab.agent.run("-g", "com.example.password")).stdout.toString()).toBe("new\n");
  });
});

describe("a run that is cut short", () => {
  test("is begun again at the next boot, and given up after three", async () => {
    await using lab = await BootstrapLab.open({ app: { script: 'echo x >> "$WORK/runs"; kill -9 $PPID; sleep 60' } });
    await lab.commit({});
    for (const runs of ["x\n", "x\nx\n", "x\nx\nx\n"]) {
      await once(lab.start("bootstrap", "--wait", "20"), "exit");
      expect(await lab.left("runs")).toBe(runs);
    }
    for (let boot = 4; boot <= 5; boot += 1) {
      const { exitCode, stderr } = await lab.run("bootstrap", "--wait", "20");
      expect(exitCode).toBe(2);
      expect(stderr).toContain("it was interrupted 3 times, and is tried again with a new commit");
    }
    expect(await lab.left("runs")).toBe("x\nx\nx\n");
    await lab.commit({}, {}, "c2");
    await once(lab.start("bootstrap", "--wait", "20"), "exit");
    expect(await lab.left("runs")).toBe("x\nx\nx\nx\n");
  });

  test("by a signal ends what it had started, and is begun again", async () => {
    await using lab = await BootstrapLab.open({
      app: { script: 'echo $$ > "$WORK/pid"; [ -e "$WORK/again" ] || sleep 60' },
    });
    await lab.commit({});
    const booting = lab.start("bootstrap", "--wait", "20");
    const pid = Number(await vi.waitUntil(() => lab.left("pid").then((text) => text?.trim()), { timeout: 20_000 }));
    booting.kill("SIGTERM");
    expect(await once(booting, "exit")).toEqual([143, null]);
    expect(() => process.kill(pid, 0)).toThrow("ESRCH");
    await writeFile(join(lab.work, "again"), "");
    expect((await lab.run("bootstrap", "--wait", "20")).exitCode).toBe(0);
    expect(await lab.report()).toMatchObject({ state: "ok" });
  });
});

test("a copy of the disk is another instance, and is configured anew", async () => {
  await using lab = await BootstrapLab.open({ app: remembers });
  await lab.commit({});
  await lab.run("bootstrap", "--wait", "20");
  const path = join(lab.agent.stateDirectory, "bootstrap", "state.json");
  const state = JSON.parse(await readFile(path, "utf8")) as object;
  await writeFile(path, JSON.stringify({ ...state, instance: "another machine" }));
  expect((await lab.run("bootstrap", "--wait", "20")).exitCode).toBe(0);
  expect(await lab.left("runs")).toBe("x\nx\n");
});

test("only one run is under way at a time", async () => {
  await using lab = await BootstrapLab.open({ app: { script: 'touch "$WORK/begun"; sleep 60' } });
  await lab.commit({});
  lab.start("bootstrap", "--wait", "20");
  await vi.waitUntil(() => lab.left("begun").then((text) => text !== undefined), { timeout: 20_000 });
  const { exitCode, stderr } = await lab.run("config", "configure");
  expect(exitCode).toBe(12);
  expect(stderr).toContain("this machine is being configured already");
});

test("a cache without room for the report does not keep a run from going on", async () => {
  await using lab = await BootstrapLab.open({ app: remembers });
  await lab.commit({ "com.example.large": "x".repeat(8_100) });
  const { exitCode, stderr } = await lab.run("bootstrap", "--wait", "20");
  expect(exitCode).toBe(0);
  expect(stderr).toContain(`'${REPORT_KEY}' does not show the run`);
  expect((await lab.messages()).at(-1)).toMatchObject({ name: "bootstrap.ended", data: { outcome: "ok" } });
});

test("a cache that is nearly full shows less of the run, and its end in any case", async () => {
  const fails = { script: "echo a line that says at length what is wrong with it >&2; exit 1" };
  const names = Array.from({ length: 20 }, (_, index) => `module-${index}`);
  await using lab = await BootstrapLab.open(Object.fromEntries(names.map((name) => [name, fails])));
  await lab.commit({ "com.example.large": "x".repeat(7_000) });
  expect((await lab.run("bootstrap", "--wait", "20")).exitCode).toBe(2);
  expect(await lab.report()).toMatchObject({ state: "error", shortened: true });
});

describe("what is wrong on the machine", () => {
  test.each([
    { what: "a record that cannot be read", file: "state/bootstrap/state.json", says: "state.json" },
    { what: "a list of disabled modules that cannot be read", file: "state/bootstrap/disabled.json", says: "disabled" },
    { what: "a configuration that means nothing", file: "bootstrap.json", says: "bootstrap.json" },
  ])("$what is told to the host, and nothing is done", async ({ file, says }) => {
    await using lab = await BootstrapLab.open({ app: remembers });
    await lab.commit({});
    await mkdir(join(lab.agent.stateDirectory, "bootstrap"), { recursive: true });
    await writeFile(join(lab.agent.directory, file), "{");
    const { exitCode, stderr } = await lab.run("bootstrap", "--wait", "20");
    expect(exitCode).toBe(2);
    expect(stderr).toContain(says);
    expect(await lab.left("runs")).toBeUndefined();
    expect(await lab.messages()).toMatchObject([{ name: "bootstrap.ended", data: { outcome: "error" } }]);
  });

  test("a program that asks for the status does not disturb a run", async () => {
    await using lab = await BootstrapLab.open({ app: { script: 'sleep 1; echo x >> "$WORK/runs"' } });
    await lab.commit({});
    const stop = new AbortController();
    const polling = (async () => {
      while (!stop.signal.aborted) await lab.run("config", "status");
    })();
    const { exitCode, stderr } = await lab.run("bootstrap", "--wait", "20");
    stop.abort();
    await polling;
    expect({ exitCode, stderr }).toMatchObject({
      exitCode: 0,
      stderr: expect.not.stringContaining("recorded") as string,
    });
    expect((await lab.run("bootstrap")).stderr).toContain("configured already");
  });
});

describe("an agent that goes away in the middle", () => {
  const parameters = [{ key: "com.example.password", description: "password", password: true }];

  test("is told how the run ended, and rid of its secrets, when it is back", async () => {
    await using lab = await BootstrapLab.open({
      zz: { header: { configure: 99 }, script: 'kill -9 "$(cat "$WORK/pid")"' },
      app: { ...remembers, parameters },
    });
    // Where secrets outlast an agent, as below /run.
    const runDirectory = lab.agent.runDirectory;
    await lab.agent.kill("SIGTERM");
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", runDirectory]);
    try {
      await lab.agent.start();
      await writeFile(join(lab.work, "pid"), String(lab.agent.pid));
      await lab.commit({}, { "com.example.password": "geheimnis" });
      expect((await lab.run("bootstrap", "--wait", "20")).exitCode).toBe(0);
      await lab.agent.start();
      expect((await lab.agent.run("-g", "com.example.password")).exitCode).toBe(0);
      expect((await lab.run("bootstrap")).stderr).toContain("configured already");
      expect((await lab.agent.run("-g", "com.example.password")).exitCode).toBe(1);
      expect((await lab.messages()).at(-1)).toMatchObject({ name: "bootstrap.ended", data: { outcome: "ok" } });
    } finally {
      await lab.agent.kill("SIGTERM");
      execFileSync("umount", [runDirectory]);
    }
  });

  test("and stands still does not hold up each step of the run", async () => {
    const modules = Object.fromEntries(Array.from({ length: 5 }, (_, index) => [`m${index}`, { script: "exit 0" }]));
    await using lab = await BootstrapLab.open(modules, { otherwise: "defaults", wait: "1s" });
    process.kill(lab.agent.pid, "SIGSTOP");
    const startMs = performance.now();
    expect((await lab.run("bootstrap")).exitCode).toBe(0);
    // Three answers are waited for at length: the first, the look, and the last word. 8 modules would take 240 s.
    expect(performance.now() - startMs).toBeLessThan(59_000);
    process.kill(lab.agent.pid, "SIGCONT");
  }, 90_000);
});

test("a first configuration by defaults is made whole by the first commit", async () => {
  await using lab = await BootstrapLab.open({ app: remembers }, { otherwise: "defaults", wait: "1s" });
  expect((await lab.run("bootstrap")).exitCode).toBe(0);
  lab.start("bootstrap", "--watch");
  await lab.commit({ "com.example.port": "1" });
  await lab.report(({ state, commit }) => state === "ok" && commit === "c1");
  expect(await lab.left("runs")).toBe("x\nx\n");
});

test("a secret that a module of another target keeps is not erased", async () => {
  const secret = { key: "com.example.password", description: "password", password: true };
  await using lab = await BootstrapLab.open({
    user: { header: { suspend: 10 }, parameters: [secret], script: "exit 0" },
  });
  await writeFile(
    join(lab.moduleDirectory, "keeps.yaml"),
    `parameters: { password: { key: com.example.password, description: "", secret: true, keep: true } }\ncheck: ["true"]\n`,
  );
  await lab.commit({}, { "com.example.password": "geheimnis" });
  expect((await lab.run("bootstrap", "--wait", "20")).exitCode).toBe(0);
  expect((await lab.run("config", "suspend")).exitCode).toBe(0);
  expect((await lab.agent.run("-g", "com.example.password")).stdout.toString()).toBe("geheimnis\n");
});
