#!/usr/bin/env python3
"""A real, current ClickHouse for tests on one machine, on loopback: one node, or several shards.

    ./clickhouse.py install                brings the engine (an npm package of 180 MB, once)
    ./clickhouse.py up DIR [--shards 2]    starts it, prints one JSON line, returns when every node answers (under 2 s)
    ./clickhouse.py kill DIR s2            SIGKILL to one node; `start DIR s2` brings it back with its data
    ./clickhouse.py down DIR               ends all that `up` started

Users: `default` without password, `app` with password `secret`. Cluster name `c`, macro {shard}, time zone UTC.
Each node is the current engine with its real HTTP and native TCP interfaces, MergeTree storage and Distributed
tables, started through the shared library: the npm package ships that, and none ships the `clickhouse` program.
What it lacks against a full server: the interserver port, so Replicated* tables stay read-only; the DDL queue, so
`ON CLUSTER` is refused (run each statement on each node); `system.query_log`.
CLICKHOUSE_HOME (default: ~/.cache/clickhouse-test) holds what `install` brings.
"""
import argparse, ctypes, json, os, shutil, signal, socket, subprocess, sys, time, urllib.request

VERSION = "26.7.3-stable.1"
HOME = os.environ.get("CLICKHOUSE_HOME", os.path.expanduser("~/.cache/clickhouse-test"))
LIB = os.path.join(HOME, "node_modules/@chdb/lib-linux-x64-gnu/libchdb.so")


def install(_):
    os.makedirs(HOME, exist_ok=True)
    if not os.path.exists(LIB):
        subprocess.run(["npm", "install", "--no-save", "--silent", "--prefix", HOME, f"@chdb/lib-linux-x64-gnu@{VERSION}"], check=True)
    print("installed", VERSION)


def free_ports(n):
    socks = [socket.socket() for _ in range(n)]
    for s in socks:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in socks]
    for s in socks:
        s.close()
    return ports


def write_config(base, name, node, cluster):
    d = os.path.join(base, name)
    os.makedirs(os.path.join(d, "data"), exist_ok=True)
    shards = "".join(f"<shard><replica><host>127.0.0.1</host><port>{n['tcp']}</port></replica></shard>" for n in cluster["nodes"].values())
    with open(os.path.join(d, "config.xml"), "w") as f:
        f.write(f"""<clickhouse>
<logger><level>information</level><log>{d}/server.log</log><errorlog>{d}/error.log</errorlog><size>50M</size><count>2</count></logger>
<path>{d}/data/</path><tmp_path>{d}/scratch/</tmp_path>
<http_port>{node['http']}</http_port><tcp_port>{node['tcp']}</tcp_port>
<users_config>{d}/users.xml</users_config><timezone>UTC</timezone>
<remote_servers><c>{shards}</c></remote_servers>
<macros><shard>{node['shard']}</shard></macros>
</clickhouse>
""")
    with open(os.path.join(d, "users.xml"), "w") as f:
        f.write("""<clickhouse><profiles><default></default></profiles><users>
<default><password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default>
<app><password>secret</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></app>
</users><quotas><default></default></quotas></clickhouse>
""")
    hold = os.path.join(d, "hold")
    if not os.path.exists(hold):
        os.mkfifo(hold)


def run_node(args):
    """Becomes the server: the library's command line is `clickhouse local`, which can start the server's listeners."""
    d = os.path.abspath(args.dir)
    cluster = load(os.path.dirname(d))
    node = cluster["nodes"][os.path.basename(d)]
    os.chdir(d)
    argv = ["clickhouse-local", f"--config-file={d}/config.xml", f"--path={d}/data", "--listen_host=127.0.0.1",
            f"--http_port={node['http']}", f"--tcp_port={node['tcp']}", "--query",
            "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; "
            f"SELECT * FROM file('{d}/hold','LineAsString','x String') FORMAT Null"]
    lib = ctypes.CDLL(LIB)
    c_argv = (ctypes.c_char_p * len(argv))(*[a.encode() for a in argv])
    lib.query_stable_v2.restype = ctypes.c_void_p
    lib.query_stable_v2(len(argv), c_argv)


def spawn(base, name):
    d = os.path.join(base, name)
    cmd = [sys.executable, os.path.abspath(__file__), "run-node", d]
    with open(os.path.join(d, "stdout.log"), "ab") as log:
        p = subprocess.Popen(cmd, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    with open(os.path.join(d, "pid"), "w") as f:
        f.write(str(p.pid))
    return p.pid


def wait_http(port, seconds=60):
    end = time.time() + seconds
    while time.time() < end:
        try:
            if urllib.request.urlopen(f"http://127.0.0.1:{port}/?query=SELECT%201", timeout=2).read() == b"1\n":
                return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"no answer on {port} after {seconds} s")


def load(base):
    with open(os.path.join(base, "cluster.json")) as f:
        return json.load(f)


def up(args):
    base = os.path.abspath(args.dir)
    if not os.path.exists(LIB):
        sys.exit("run `clickhouse.py install` first")
    os.makedirs(base, exist_ok=True)
    ports = iter(free_ports(args.shards * 2))
    cluster = {"version": VERSION, "cluster": "c", "nodes": {}}
    for shard in range(1, args.shards + 1):
        cluster["nodes"][f"s{shard}"] = {"shard": shard, "http": next(ports), "tcp": next(ports)}
    with open(os.path.join(base, "cluster.json"), "w") as f:
        json.dump(cluster, f)
    for name, node in cluster["nodes"].items():
        write_config(base, name, node, cluster)
        spawn(base, name)
    for node in cluster["nodes"].values():
        wait_http(node["http"])
    print(json.dumps(cluster))


def start(args):
    base, cluster = os.path.abspath(args.dir), load(args.dir)
    spawn(base, args.name)
    wait_http(cluster["nodes"][args.name]["http"])


def end(base, name, sig):
    try:
        with open(os.path.join(base, name, "pid")) as f:
            pid = int(f.read())
        os.kill(pid, sig)
    except (OSError, ValueError):
        return
    for _ in range(100):
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
        except ChildProcessError:
            pass
        if not os.path.exists(f"/proc/{pid}") or open(f"/proc/{pid}/stat").read().split(") ")[1][0] == "Z":
            return
        time.sleep(0.1)


def kill(args):
    end(os.path.abspath(args.dir), args.name, signal.SIGKILL)


def down(args):
    base = os.path.abspath(args.dir)
    for name in load(base)["nodes"]:
        end(base, name, signal.SIGKILL)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(required=True)
    sub.add_parser("install").set_defaults(run=install)
    q = sub.add_parser("up"); q.add_argument("dir"); q.add_argument("--shards", type=int, default=1); q.set_defaults(run=up)
    for name, f in (("start", start), ("kill", kill)):
        q = sub.add_parser(name); q.add_argument("dir"); q.add_argument("name"); q.set_defaults(run=f)
    q = sub.add_parser("down"); q.add_argument("dir"); q.set_defaults(run=down)
    q = sub.add_parser("run-node"); q.add_argument("dir"); q.set_defaults(run=run_node)
    args = p.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
