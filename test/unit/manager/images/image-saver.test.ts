import { symlink } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { MailError } from "../../../../manager/sinks/mailer.ts";
import { known, Scene, web1 } from "./scene.ts";

const running = known("Running");
const MINUTE_MS = 60_000;

afterEach(() => {
  vi.useRealTimers();
});

describe("an image that is asked for", () => {
  test("waits while its VM runs", async () => {
    const scene = await Scene.open();
    const saver = await scene.openSaver();
    const save = await saver.save({ directory: scene.allowed, format: "qcow2" }, "alice", running);
    expect(save).toMatchObject({ vm: web1, directory: scene.allowed, disk: "vda", by: "alice", state: "waiting" });
    for (const status of ["Paused", "Suspended", "Unknown"] as const) {
      scene.known = known(status);
      saver.statusChanged(web1);
    }
    expect(saver.list()).toEqual([save]);
    expect(saver.show(save.id)).toEqual(save);
    expect(scene.events).toMatchObject([
      { type: "IMAGE.SAVE", resourceUUID: web1.id, newState: "Scheduled", data: { jobId: save.id, by: "alice" } },
    ]);
  });

  test("goes where the configuration allows it, or below", async () => {
    const scene = await Scene.open();
    const saver = await scene.openSaver();
    const below = join(scene.allowed, "below");
    const save = await saver.save({ directory: below, format: "raw" }, "alice", running);
    expect(save.directory).toBe(below);
  });

  test("goes nowhere else, whatever the path looks like", async () => {
    const scene = await Scene.open();
    const saver = await scene.openSaver();
    await symlink("/", join(scene.allowed, "way-out"));
    for (const path of [
      "/",
      "/etc",
      join(scene.allowed, ".."),
      `${scene.allowed}-not`,
      join(scene.allowed, "way-out"),
    ]) {
      const save = saver.save({ directory: path, format: "qcow2" }, "alice", running);
      await expect(save, path).rejects.toMatchObject({
        code: "not-permitted",
        message: expect.stringContaining(`they may be put in ${scene.allowed} or below`) as string,
      });
    }
    expect(scene.jobs.size).toBe(0);
    expect(scene.events).toEqual([]);
  });

  test("needs a directory that is there", async () => {
    const scene = await Scene.open();
    const saver = await scene.openSaver();
    const directory = join(scene.allowed, "missing");
    const save = saver.save({ directory, format: "qcow2" }, "alice", running);
    await expect(save).rejects.toThrow(`${directory} does not exist (ENOENT)`);
  });

  test("needs an address for its author that is one, and a server to send the mail", async () => {
    const scene = await Scene.open();
    const saver = await scene.openSaver();
    const request = { directory: scene.allowed, format: "qcow2" } as const;
    const evil = saver.save({ ...request, authorEmail: "a@example.com\r\nBcc: b@example.com" }, "alice", running);
    await expect(evil).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining("is no mail address") as string,
    });
    scene.hasMailServer = false;
    const mute = saver.save({ ...request, authorEmail: "a@example.com" }, "alice", running);
    await expect(mute).rejects.toThrow("name it in events.mail");
    expect(scene.jobs.size).toBe(0);
  });

  test("is asked for once", async () => {
    const scene = await Scene.open();
    const saver = await scene.openSaver();
    const request = { directory: scene.allowed, format: "qcow2" } as const;
    const { id } = await saver.save(request, "alice", running);
    await expect(saver.save(request, "bob", running)).rejects.toMatchObject({ code: "conflict", details: { id } });
    await saver.save({ ...request, format: "raw" }, "bob", running);
    expect(saver.list().map(({ by }) => by)).toEqual(["bob", "alice"]);
  });

  test("can be cancelled while it waits, once", async () => {
    const scene = await Scene.open();
    const saver = await scene.openSaver();
    const { id } = await saver.save(
      { directory: scene.allowed, format: "qcow2", authorEmail: "a@example.com" },
      "alice",
      running,
    );
    expect(await saver.cancel(id)).toMatchObject({ id, state: "cancelled" });
    expect(scene.states).toEqual(["Scheduled", "Cancelled"]);
    await expect(saver.cancel(id)).rejects.toMatchObject({ code: "conflict" });
    await expect(saver.cancel("unknown")).rejects.toMatchObject({ code: "failed" });
    expect(scene.mails).toEqual([]);
  });

  test("still waits after the manager was restarted, and fails when its VM is not known by then", async () => {
    const scene = await Scene.open();
    const first = await scene.openSaver();
    const { id } = await first.save({ directory: scene.allowed, format: "qcow2" }, "alice", running);
    await first.close();
    const second = await scene.openSaver();
    expect(second.show(id)?.state).toBe("waiting");
    await second.close();
    scene.known = undefined;
    const third = await scene.openSaver();
    expect(third.show(id)).toMatchObject({ state: "failed", error: "the VM is not known any more" });
    expect(scene.states).toEqual(["Scheduled", "Failed"]);
  });

  test("fails with the reason when its disk cannot be found any more, and whoever follows is told", async () => {
    const scene = await Scene.open();
    const saver = await scene.openSaver();
    const { id } = await saver.save({ directory: scene.allowed, format: "qcow2" }, "alice", running);
    const states: unknown[] = [];
    saver.onChange(id, () => states.push(saver.show(id)?.state));
    scene.disksOf.mockResolvedValue([]);
    scene.known = known("Stopped");
    saver.statusChanged(web1);
    await vi.waitFor(() => {
      expect(states).toEqual(["failed"]);
    });
    expect(saver.show(id)?.error).toBe("the VM 'web1' has no disk in a file or on a block device, and no 'vda'");
  });
});

describe("the author", () => {
  /** One whose saving has failed. */
  async function failedSave(scene: Scene) {
    const saver = await scene.openSaver();
    const request = { directory: scene.allowed, format: "qcow2", authorEmail: "a@example.com" } as const;
    const { id } = await saver.save(request, "alice", running);
    scene.disksOf.mockRejectedValue(new Error("libvirt is away"));
    scene.known = known("Stopped");
    saver.statusChanged(web1);
    await vi.waitFor(() => {
      expect(saver.show(id)?.state).toBe("failed");
    });
    return { saver, id };
  }

  const away = new MailError("unreachable", "no server");

  test("is told why there is no image", async () => {
    const scene = await Scene.open();
    const { id } = await failedSave(scene);
    await vi.waitFor(() => {
      expect(scene.jobs.get(id)?.isOver).toBe(true);
    });
    expect(scene.mails).toMatchObject([
      { to: ["a@example.com"], subject: "Image of web1 could not be saved", messageId: `image-save.${id}` },
    ]);
    const { text = "" } = scene.mails[0] ?? {};
    expect(text).toContain("Reason:     libvirt is away\n");
    expect(text).toContain(`VM:         web1 (${web1.id})\n`);
  });

  test("is told later when the mail server is away, with the same Message-ID each time", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    const scene = await Scene.open();
    scene.send.mockRejectedValueOnce(away).mockRejectedValueOnce(away);
    const { id } = await failedSave(scene);
    await vi.waitUntil(() => scene.send.mock.calls.length === 1);
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    await vi.advanceTimersByTimeAsync(5 * MINUTE_MS);
    await vi.waitFor(() => {
      expect(scene.jobs.get(id)?.isOver).toBe(true);
    });
    expect(new Set(scene.send.mock.calls.map(([mail]) => mail.messageId))).toEqual(new Set([`image-save.${id}`]));
    expect(scene.mails).toHaveLength(1);
  });

  test("is told by the next manager when this one stops before", async () => {
    const scene = await Scene.open();
    scene.send.mockRejectedValueOnce(away);
    const { saver, id } = await failedSave(scene);
    await vi.waitUntil(() => scene.send.mock.calls.length === 1);
    await saver.close();
    expect(scene.jobs.get(id)?.isOver).toBe(false);
    await scene.openSaver();
    await vi.waitFor(() => {
      expect(scene.jobs.get(id)?.isOver).toBe(true);
    });
    expect(scene.mails).toHaveLength(1);
  });

  test("is given up after a day, or when there is no such mailbox, and the log says so", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    const patient = await Scene.open();
    patient.send.mockRejectedValue(away);
    const { id } = await failedSave(patient);
    await vi.waitUntil(() => patient.send.mock.calls.length === 1);
    await vi.advanceTimersByTimeAsync(23 * 60 * MINUTE_MS);
    expect(patient.jobs.get(id)?.isOver).toBe(false);
    await vi.advanceTimersByTimeAsync(3 * 60 * MINUTE_MS);
    await vi.waitFor(() => {
      expect(patient.jobs.get(id)?.isOver).toBe(true);
    });
    expect(patient.log.warn).toHaveBeenCalledWith("author-not-told", expect.objectContaining({ job: id }));

    const impatient = await Scene.open();
    impatient.send.mockRejectedValue(new MailError("refused", "no such user", 550));
    const refused = await failedSave(impatient);
    await vi.waitFor(() => {
      expect(impatient.jobs.get(refused.id)?.isOver).toBe(true);
    });
    expect(impatient.send).toHaveBeenCalledTimes(1);
  });
});
