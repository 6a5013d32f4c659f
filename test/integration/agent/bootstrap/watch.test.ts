import { once } from "node:events";
import { describe, expect, test, vi } from "vitest";
import { BootstrapLab } from "./lab.ts";

const app = {
  header: { configure: 50, reconfigure: 50 },
  script: 'cat > "$WORK/values"; echo "$1" >> "$WORK/runs"',
};

async function untilRuns(lab: BootstrapLab, runs: string): Promise<void> {
  await vi.waitUntil(async () => (await lab.left("runs")) === runs, { timeout: 30_000, interval: 100 });
}

const valueOf = async (lab: BootstrapLab, key: string): Promise<unknown> => {
  return (JSON.parse((await lab.left("values")) ?? "{}") as Record<string, unknown>)[key];
};

describe("agent bootstrap --watch", () => {
  test("configures what the first boot could not, and then reconfigures with every commit", async () => {
    await using lab = await BootstrapLab.open({ app });
    expect((await lab.run("bootstrap", "--wait", "1")).exitCode).toBe(10);
    lab.start("bootstrap", "--watch");
    await lab.commit({ "com.example.port": "1" });
    await untilRuns(lab, "configure\n");
    await lab.commit({ "com.example.port": "2" }, {}, "c2");
    await untilRuns(lab, "configure\nreconfigure\n");
    expect(await valueOf(lab, "com.example.port")).toBe("2");
    expect(await lab.report(({ state }) => state === "ok")).toMatchObject({ target: "reconfigure", commit: "c2" });
  });

  test("takes the same commit set again for another, and keys without a commit for none", async () => {
    await using lab = await BootstrapLab.open({ app });
    await lab.commit({ "com.example.port": "1" });
    await lab.run("bootstrap", "--wait", "20");
    lab.start("bootstrap", "--watch");
    const host = await lab.agent.host();
    await host.change("set", { messageId: "m1", entries: [{ key: "com.example.port", value: "2" }] });
    await host.close();
    await lab.commit({}, {}, "c1");
    await untilRuns(lab, "configure\nreconfigure\n");
    expect(await valueOf(lab, "com.example.port")).toBe("2");
  });

  test("looks once at commits that come one right after the other", async () => {
    await using lab = await BootstrapLab.open({ app }, { debounce: "1s" });
    await lab.commit({});
    await lab.run("bootstrap", "--wait", "20");
    const watching = lab.start("bootstrap", "--watch");
    for (const port of ["1", "2", "3"]) await lab.commit({ "com.example.port": port }, {}, `c${port}`);
    await lab.report(({ commit, state }) => commit === "c3" && state === "ok");
    expect(await lab.left("runs")).toBe("configure\nreconfigure\n");
    watching.kill("SIGTERM");
    expect(await once(watching, "exit")).toEqual([0, null]);
  });

  test("finds what was committed while it was not there, and leaves alone what was handled", async () => {
    await using lab = await BootstrapLab.open({ app });
    await lab.commit({});
    await lab.run("bootstrap", "--wait", "20");
    await lab.commit({ "com.example.port": "2" }, {}, "c2");
    const first = lab.start("bootstrap", "--watch");
    await lab.report(({ commit, state }) => commit === "c2" && state === "ok");
    first.kill("SIGTERM");
    await once(first, "exit");
    lab.start("bootstrap", "--watch");
    await lab.commit({ "com.example.port": "3" }, {}, "c3");
    await lab.report(({ commit, state }) => commit === "c3" && state === "ok");
    expect(await lab.left("runs")).toBe("configure\nreconfigure\nreconfigure\n");
  });

  test("goes on over a restart of the agent", async () => {
    await using lab = await BootstrapLab.open({ app });
    await lab.commit({});
    await lab.run("bootstrap", "--wait", "20");
    lab.start("bootstrap", "--watch");
    await lab.commit({}, {}, "c2");
    await untilRuns(lab, "configure\nreconfigure\n");
    await lab.agent.kill("SIGKILL");
    await lab.agent.start();
    await lab.commit({}, {}, "c3");
    await untilRuns(lab, "configure\nreconfigure\nreconfigure\n");
  });

  test("reconfigures with every key that the host sets or deletes, where that is wanted", async () => {
    await using lab = await BootstrapLab.open({ app }, { reconfigureOn: "change" });
    await lab.commit({});
    await lab.run("bootstrap", "--wait", "20");
    lab.start("bootstrap", "--watch");
    const host = await lab.agent.host();
    await host.change("set", { messageId: "m1", entries: [{ key: "com.example.port", value: "2" }] });
    await untilRuns(lab, "configure\nreconfigure\n");
    expect(await valueOf(lab, "com.example.port")).toBe("2");
    await lab.agent.run("-p", "com.example.ready=yes");
    await host.change("delete", { messageId: "m2", keys: ["com.example.port"] });
    await untilRuns(lab, "configure\nreconfigure\nreconfigure\n");
    expect(await valueOf(lab, "com.example.ready")).toBe("yes");
    expect(await valueOf(lab, "com.example.port")).toBeUndefined();
    await host.close();
  });

  test("tries a commit whose run was cut short again", async () => {
    const once = {
      ...app,
      script: `echo "$1" >> "$WORK/runs"; [ -e "$WORK/cut" ] || { touch "$WORK/cut"; kill -9 $PPID; }`,
    };
    await using lab = await BootstrapLab.open({ app });
    await lab.commit({});
    await lab.run("bootstrap", "--wait", "20");
    await lab.addModule("app", once);
    lab.start("bootstrap", "--watch");
    await lab.commit({}, {}, "c2");
    await untilRuns(lab, "configure\nreconfigure\n");
    lab.start("bootstrap", "--watch");
    await untilRuns(lab, "configure\nreconfigure\nreconfigure\n");
    expect(await lab.report(({ state }) => state === "ok")).toMatchObject({ commit: "c2" });
  });
});
