// What a load test does now, on stderr: a line that moves on a terminal, otherwise one line a part.

export type Progress = {
  /** A part begins. */
  begin(title: string): void;
  /** How far it is; shown on a terminal only. */
  update(state: string): void;
  /** The part is over. */
  end(result: string): void;
};

export function createProgress(stream: NodeJS.WriteStream): Progress {
  let current = '';
  const onTerminal = stream.isTTY;
  return {
    begin(title) {
      current = title;
      if (onTerminal) stream.write(`${title} …`);
    },
    update(state) {
      if (onTerminal) stream.write(`\r\x1b[K${current} … ${state}`);
    },
    end(result) {
      stream.write(`${onTerminal ? '\r\x1b[K' : ''}${current}: ${result}\n`);
    },
  };
}
