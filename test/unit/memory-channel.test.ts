import { describe, expect, it } from "vitest";
import { type Channel, ChannelClosedError } from "../../shared/channel.ts";
import { memoryChannels } from "../../shared/channels/memory.ts";

async function readAll(channel: Channel): Promise<string[]> {
  const pieces: string[] = [];
  for await (const piece of channel.incoming) pieces.push(Buffer.from(piece).toString());
  return pieces;
}

describe("two joined channel ends", () => {
  it("hand over whole writes in order, and what was written before the close", async () => {
    const [left, right] = memoryChannels();
    await left.write(Buffer.from("one"));
    await left.write(Buffer.from("two"));
    await left.close();
    expect(await readAll(right)).toEqual(["one", "two"]);
    expect(await readAll(left)).toEqual([]);
  });

  it("cut, change and drop on demand, each direction for itself", async () => {
    const change = (piece: Uint8Array): Uint8Array | undefined => (piece[0] === 0x2d ? undefined : piece);
    const [left, right] = memoryChannels({ left: { pieceBytes: 2, change } });
    await left.write(Buffer.from("ab--cde"));
    await right.write(Buffer.from("-whole-"));
    await left.close();
    expect(await readAll(right)).toEqual(["ab", "cd", "e"]);
    expect(await readAll(left)).toEqual(["-whole-"]);
  });

  it("do not share memory with the writer", async () => {
    const [left, right] = memoryChannels();
    const bytes = Buffer.from("before");
    await left.write(bytes);
    bytes.fill("x");
    await left.close();
    expect(await readAll(right)).toEqual(["before"]);
  });

  it("refuse writes after either was closed, and can be closed twice", async () => {
    const [left, right] = memoryChannels();
    await left.close();
    await right.close();
    await expect(left.write(Buffer.from("x"))).rejects.toThrow(ChannelClosedError);
    await expect(right.write(Buffer.from("x"))).rejects.toThrow(ChannelClosedError);
  });
});
