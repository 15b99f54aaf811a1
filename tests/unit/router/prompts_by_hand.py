"""Prompts written by hand for the tests: none is made by the examples that the shipped weights were trained on."""

BY_INTENT = {
    "coding_help": """
        My pytest fixture is not found although conftest.py lies in the same directory
        Turn this callback hell into async functions: getUser(id, u => getPosts(u, p => render(p)))
        Why does `len(df[df.age > 30])` differ from df.query("age > 30").count()?
        How can I make a Gradle build reuse its cache on CI?
        Write a Lua coroutine that yields the Fibonacci numbers
        I need a cron line that runs every weekday at 6:30
        Give me a Postgres index for WHERE lower(email) = $1
        My React component renders twice in development, is it a bug?
        Port this Perl one-liner to awk: perl -ne 'print if /foo/'
        What is the idiomatic way to handle errors in Go without exceptions?
        The linker says undefined reference to `pthread_create`
        Explain what this does: const uniq = a => [...new Set(a)];
        systemd unit that restarts my Node server when it crashes
        Sort an array of structs by two fields in Rust
        How do I squash the last four commits before pushing the branch to GitHub?
        Write a Makefile target that builds every .c file in src
        CSS: keep the footer at the bottom even on short pages
        Which HTTP status code should my REST API return for a duplicate key?
        Implement a thread-safe ring buffer in C++
        def mean(xs): return sum(xs) / len(xs)  -- make it survive an empty list
        Schreibe ein Python-Skript, das alle JPEG-Dateien eines Ordners verkleinert
        Напиши функцию на Python, которая проверяет скобки в строке
    """,
    "reasoning_math": """
        Show that the product of three consecutive integers is divisible by 6
        What is the probability that two cards drawn from a deck are both aces?
        Integrate x^2 * ln(x) from 1 to e
        If 3x + 7 = 22, what is x?
        A tank fills in 6 hours and empties in 9. Both valves are open: how long until it is full?
        Anna is taller than Ben, Ben is taller than Cleo. Who is the shortest?
        How many trailing zeros does 100! have?
        Compute the determinant of [[2, 1], [5, 3]]
        Prove that a graph with n vertices and n edges contains a cycle
        What is 17 * 23?
        Find the eigenvectors of the matrix [[0, 1], [1, 0]]
        Each of five friends shakes hands with every other. How many handshakes are there?
        Two sisters share 84 marbles in the ratio 3:4. How many does the older one get?
        Evaluate the limit of (1 + 1/n)^n as n tends to infinity
        How many r's are there in strawberry?
        What number comes next: 3, 9, 27, 81?
        The perimeter of a square is 36 cm. What is its area?
        Simplify (x^2 - 9)/(x + 3)
        A car drives 150 km in 2.5 hours. What is its average speed in km/h?
        Is every continuous function differentiable? Prove or give a counterexample.
        Berechne die Ableitung von f(x) = x^3 - 5x
        Сколько будет 15 процентов от 240?
    """,
    "editing_writing": """
        Write a ghost story set in a supermarket after closing time
        Rewrite this sentence so that it sounds less rude: Send me the file now.
        Compose a short poem for a friend who is leaving the company
        Draft an apology email to a customer whose order was lost
        Proofread: Their going to the libary tommorow
        Translate into French: We would like to book a table for four
        Give me five catchy titles for a short story about beekeepers
        Write a wedding speech for my brother, warm and funny
        Summarize the following article in three sentences
        Write a dialogue between a tired vampire and a dentist
        Make my cover letter more concise and confident
        Continue the story: the lift stopped between two floors and then she heard the song
        A haiku about a traffic jam
        Write song lyrics about leaving a small town
        Write a product description for a handmade leather bag
        Paraphrase the paragraph below in a formal tone
        Create a backstory for a dwarf who is afraid of caves
        Write a farewell letter from a lighthouse keeper to the sea
        Fix the grammar: she don't knows what happen yesterday
        Write a persuasive essay about school uniforms
        Schreibe eine lustige Kurzgeschichte über einen faulen Kater
        Напиши поздравление с днём рождения для коллеги
    """,
    "qa_retrieval": """
        Why do leaves change colour in autumn?
        What is the difference between a crocodile and an alligator?
        Who invented the telephone?
        How does a microwave oven heat food?
        What are the side effects of aspirin?
        Tell me about the history of the Hanseatic League
        What should I see in Vienna in two days?
        Which vitamins are in carrots?
        What is the capital of Burkina Faso?
        How does inflation affect savings?
        What are the main ideas of Buddhism?
        Can dogs eat grapes?
        What causes thunder?
        Explain how the electoral system of Germany works
        Recommend a few novels about the sea
        What are the advantages of heat pumps over gas heating?
        How long do I boil a soft egg?
        Who was the first woman in space?
        What is the weather in Oslo today?
        How much does a Tesla Model Y cost right now?
        Was ist der Unterschied zwischen Weizen und Roggen?
        Почему море солёное?
    """,
    "social_chat": """
        hey there
        Hi! How is your day going?
        good evening my friend
        Who are you and who made you?
        Are you a person or a machine?
        tell me a joke about vampires
        thanks, you are great
        Do you ever get bored?
        I feel really lonely tonight
        what's your name?
        see you later, bye
        I'm so sad, my boyfriend broke up with me
        Do you have feelings?
        let's just chat a little
        are you a chatbot or somebody in an office
        make me laugh please
        what do you like to do for fun
        good night, sleep well
        how are you feeling today my dear assistant
        You're funny haha
        Hallo, wie geht's dir heute?
        привет, как тебя зовут?
    """,
}
BY_LANGUAGE = {
    "en": "Please explain how the tides work and why there are two of them",
    "de": "Kannst du mir bitte erklären, wie die Gezeiten funktionieren?",
    "fr": "Peux-tu m'expliquer pourquoi il y a des marées dans la mer ?",
    "es": "¿Puedes explicarme por qué hay mareas en el mar?",
    "it": "Puoi spiegarmi perché ci sono le maree nel mare?",
    "pt": "Você pode me explicar por que existem as marés? Não entendo.",
    "nl": "Kun je mij uitleggen waarom er eb en vloed is in de zee?",
    "pl": "Czy możesz mi wyjaśnić, dlaczego na morzu są pływy?",
    "tr": "Bana denizde neden gelgit olduğunu açıklar mısın ve bu nasıl oluyor?",
    "ru": "Объясни, пожалуйста, почему бывают приливы и отливы",
    "uk": "Поясни, будь ласка, чому бувають припливи і відпливи в її морі",
    "zh": "请解释一下为什么会有潮汐",
    "ja": "なぜ潮の満ち引きがあるのか説明してください",
    "ko": "왜 밀물과 썰물이 있는지 설명해 주세요",
    "ar": "اشرح لي لماذا يوجد المد والجزر في البحر",
    "hi": "कृपया समझाइए कि समुद्र में ज्वार-भाटा क्यों आता है",
    "el": "Γιατί υπάρχουν παλίρροιες στη θάλασσα;",
    "he": "למה יש גאות ושפל בים",
    "th": "ทำไมถึงมีน้ำขึ้นน้ำลง",
}
WEB = [
    "What is the weather like in Madrid today?",
    "latest news about the elections",
    "Bitcoin price right now",
    "Who won the match yesterday?",
    "what are the current mortgage rates",
]
NO_WEB = [
    "Why is the sky blue?",
    "Write a poem about spring",
    "Sort a list in Python",
    "What is 12 times 12?",
    "Who painted Guernica?",
]
RISING = [
    "hello",
    "2+2",
    "Write a limerick about a fox",
    "Explain the causes of the Thirty Years' War and its consequences for trade in the cities of the empire",
    "Prove that every bounded sequence of real numbers has a convergent subsequence. Give a rigorous proof.",
]
"""Each more complex than the one before."""
