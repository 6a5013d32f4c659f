/** A terminal line as the agent's channel: whoever is at the other end is always there. Opened again when it breaks. */
import { pause } from "../../shared/abort.ts";
import { openTty } from "../../shared/channels/tty.ts";
import type { Channel, ChannelSource } from "../../shared/channel.ts";

const OPEN_AGAIN_MS = 1_000;

export function ttySource(path: string, baudRate: number, onError: (error: Error) => void): ChannelSource {
  return {
    name: `tty:${path}`,
    async *arrivals(signal): AsyncGenerator<Channel> {
      while (!signal.aborted) {
        try {
          const channel = await openTty(path, baudRate);
          yield channel;
          await channel.close();
        } catch (error) {
          onError(error as Error);
        }
        await pause(OPEN_AGAIN_MS, signal);
      }
    },
  };
}
