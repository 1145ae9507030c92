"""The environment `fileserver`: find a setting in a tree of files, and do not trust old copies.

A README says which team runs a service. The team's folder has the file with the port; the folders
of other teams may have an old copy with another one.
"""

import random
from dataclasses import dataclass, field

import contrail

TEAMS = ("amber", "birch", "cedar", "delta", "ember", "fjord")
SERVICES = ("billing", "calendar", "chat", "login", "maps", "orders", "search", "video")


@dataclass
class FileserverConfig:
    """The keys of fileserver in stream.yaml."""

    copies: int = field(default=2, metadata={"min": 0, "max": 5})
    """The largest number of old copies of a service's file."""
    train_tasks: int = field(default=400, metadata={"min": 1})
    """The number of tasks for training."""


class Fileserver(contrail.Environment):
    """Find the port of a service on a file server."""

    Config = FileserverConfig
    system_prompt = (
        "You look for a setting on a file server. The commands are: cd FOLDER, cd .., cat FILE, "
        "answer NUMBER. The README says who runs a service; other copies of its file may be old."
    )
    max_turns = 8
    finishing = (r"answer .*",)

    def tasks(self, split):
        first, count = (0, self.config.train_tasks) if split == "train" else (1_000_000, 64)
        return [
            contrail.Task("fileserver", f"server-{seed}", seed, split, self.world(seed)["copies"])
            for seed in range(first, first + count)
        ]

    def world(self, seed):
        """The files of a task, by folder; "" is the root."""
        rng = random.Random(seed)
        services = rng.sample(SERVICES, 4)
        owners = {service: rng.choice(TEAMS) for service in services}
        ports = rng.sample(range(2000, 10_000), 4 + self.config.copies)
        folders = {team: {} for team in TEAMS}
        for service in services:
            folders[owners[service]][f"{service}.conf"] = ports.pop()
        wanted = services[0]
        port = folders[owners[wanted]][f"{wanted}.conf"]
        others = [team for team in TEAMS if team != owners[wanted]]
        copies = rng.randint(0, self.config.copies)
        for team in rng.sample(others, copies):
            folders[team][f"{wanted}.conf"] = ports.pop()
        return {
            "wanted": wanted,
            "port": port,
            "owners": owners,
            "folders": folders,
            "copies": copies,
        }

    def reset(self, task):
        self.now = self.world(task.seed)
        self.folder, self.seen, self.found = "", [], False
        return self.look(f"Your task: answer with the port of {self.now['wanted']}.")

    def look(self, text):
        """An observation: a text, where one is, and what can be done."""
        if self.folder:
            files = sorted(self.now["folders"][self.folder])
            actions = ["cd ..", *(f"cat {file}" for file in files)]
            here = f"You are in /{self.folder}: {', '.join(files) or 'nothing'}."
        else:
            actions = ["cat README", *(f"cd {team}" for team in TEAMS)]
            here = f"You are in /: README, {', '.join(TEAMS)}."
        actions += [f"answer {port}" for port in self.seen]
        return contrail.Observation(f"{text}\n{here}", actions)

    def step(self, action):
        command, _, word = action.partition(" ")
        word = word.strip()[:100]
        if command == "answer":
            right = word == str(self.now["port"])
            text = self.look("That is right." if right else "That is wrong.")
            return contrail.Step(text, float(right), terminated=True, success=right)
        files = self.now["folders"].get(self.folder, {})
        if command == "cd" and word == ".." and self.folder:
            self.folder = ""
            return contrail.Step(self.look("Done."))
        if command == "cd" and word in TEAMS and not self.folder:
            self.folder = word
            return contrail.Step(self.look("Done."))
        if command == "cat" and word == "README" and not self.folder:
            lines = [f"{service}: run by {team}" for service, team in self.now["owners"].items()]
            return contrail.Step(self.look("\n".join(sorted(lines))))
        if command == "cat" and word in files:
            port = files[word]
            self.seen += [port] * (port not in self.seen)
            return contrail.Step(self.look(f"port = {port}"))
        return contrail.Step(self.look("There is no such file or folder here."), valid=False)

    def expert(self, task):
        world = self.world(task.seed)
        wanted = world["wanted"]
        team = world["owners"][wanted]
        return ["cat README", f"cd {team}", f"cat {wanted}.conf", f"answer {world['port']}"]


@contrail.hookimpl
def contrail_environments(register):
    register("fileserver", Fileserver)
