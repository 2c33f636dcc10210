// The few commands of Redis that the shop uses, spoken as Redis speaks them, so that the tests go through the
// real client and need nothing installed.
import net from 'node:net';
import { once } from 'node:events';

/** Starts one on a free port, or on the given one. */
export async function fakeRedis(port = 0) {
  const lists = new Map();
  const values = new Map();
  const sockets = new Set();
  let mute = false;

  const commands = {
    DEL: (...keys) => integer(keys.filter((key) => values.delete(key)).length),
    HSET: (key, ...fields) => (values.set(key, fields), integer(fields.length / 2)),
    HGETALL: (key) => array((values.get(key) || []).map(bulk)),
    LPUSH: (key, value) => integer(list(key).unshift(value)),
    LREM: (key, count, value) => (lists.set(key, list(key).filter((other) => other !== value)), integer(0)),
    LINSERT: (key, where, pivot, value) => integer(list(key).splice(list(key).indexOf(pivot), 0, value).length),
    LTRIM: (key, from, to) => (lists.set(key, range(key, from, to)), '+OK\r\n'),
    LRANGE: (key, from, to) => array(range(key, from, to).map(bulk)),
  };

  const server = net.createServer((socket) => {
    let pending = '';
    let queue = null;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      pending += chunk.toString('latin1');
      for (let parsed = parse(pending); parsed; parsed = parse(pending)) {
        pending = pending.slice(parsed.length);
        if (!mute) {
          socket.write(answer(parsed.args), 'latin1');
        }
      }
    });

    function answer([name, ...args]) {
      const command = name.toUpperCase();
      if (command === 'MULTI') {
        queue = [];
        return '+OK\r\n';
      }
      if (command === 'EXEC') {
        const results = queue;
        queue = null;
        return array(results);
      }
      const result = commands[command] ? commands[command](...args) : '+OK\r\n';
      if (queue) {
        queue.push(result);
        return '+QUEUED\r\n';
      }
      return result;
    }
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');

  return {
    port: server.address().port,
    url: `redis://127.0.0.1:${server.address().port}`,
    list: (key) => list(key),
    mute: () => (mute = true), // connections stay, answers do not come
    stop: () => new Promise((resolve) => {
      sockets.forEach((socket) => socket.destroy());
      server.close(resolve);
    }),
  };

  function list(key) {
    if (!lists.has(key)) {
      lists.set(key, []);
    }
    return lists.get(key);
  }

  function range(key, from, to) {
    return list(key).slice(Number(from), to === '-1' ? undefined : Number(to) + 1);
  }
}

function bulk(text) {
  return text === undefined ? '$-1\r\n' : `$${text.length}\r\n${text}\r\n`;
}

function integer(n) {
  return `:${n}\r\n`;
}

function array(parts) {
  return `*${parts.length}\r\n${parts.join('')}`;
}

// The first whole command in text, null when there is none yet. Texts are latin1: a character is a byte.
function parse(text) {
  let at = 0;
  const line = () => {
    const end = text.indexOf('\r\n', at);
    if (end < 0) {
      return null;
    }
    const found = text.slice(at, end);
    at = end + 2;
    return found;
  };

  const head = line();
  if (head === null) {
    return null;
  }
  const args = [];
  for (let i = Number(head.slice(1)); i > 0; i--) {
    const size = line();
    if (size === null || text.length < at + Number(size.slice(1)) + 2) {
      return null;
    }
    args.push(text.substr(at, Number(size.slice(1))));
    at += Number(size.slice(1)) + 2;
  }
  return { args, length: at };
}
