import contrail

NUMBERS = [str(n) for n in range(1, 21)]


class GuessNumber(contrail.Environment):
    def tasks(self, split):
        numbers = [n for n in range(1, 21) if (n % 4 == 0) == (split == "test")]
        return [contrail.Task("guess-number", f"number-{n}", n, split) for n in numbers]

    def reset(self, task):
        self.number = task.seed
        return contrail.Observation("Guess my number, from 1 to 20.", NUMBERS)

    def step(self, action):
        guess = int(action) if action in NUMBERS else 0
        solved = guess == self.number
        hint = "Right." if solved else "Higher." if guess < self.number else "Lower."
        seen = contrail.Observation(hint, NUMBERS)
        return contrail.Step(seen, reward=float(solved), terminated=solved, success=solved)


@contrail.hookimpl
def contrail_environments(register):
    register("guess-number", GuessNumber)
