/** Hears what is being measured; a later text takes the place of the one before. */
export type Progress = (text: string) => void;

/** On a terminal one line that is rewritten; elsewhere nothing. */
export function terminalProgress(stream: NodeJS.WriteStream): Progress {
  if (!stream.isTTY) return () => undefined;
  return (text) => {
    stream.write(`\r\x1b[K${text}`);
  };
}
