import pandas as pd, sys
T=sys.argv[1]
s=open(sys.argv[2]).read()
def r(a,b,n=1):
    global s
    assert s.count(a)==n,(s.count(a),a[:90]); s=s.replace(a,b)
def f(x,d=2):
    t=f"{abs(x):.{d}f}"; t=t[1:] if t.startswith("0.") else t
    return ("-" if x<0 else "")+t
b=pd.read_csv(T+"blocks.csv").set_index(["runtime","block"]).set_axis(["x","lo","hi"],axis=1)
ro=pd.read_csv(T+"roofline.csv").set_index(["block","name"])
d=pd.read_csv(T+"of_digits.csv").set_index("variant")
ph=pd.read_csv(T+"of_photos.csv").set_index("variant")
dg=pd.read_csv(T+"digits.csv").set_index("network").val
lo=pd.read_csv(T+"looks.csv").set_index("network")
st=pd.read_csv(T+"steps.csv").set_index("channels").set_axis(["x","lo","hi"],axis=1)
pa=pd.read_csv(T+"pairs.csv"); ru=pd.read_csv(T+"reuse.csv")
cl=pd.read_csv(T+"claims.csv").set_index("id").measured if __import__("os").path.exists(T+"claims.csv") else None
for x in (b,ro[["macs_per_byte","gmacs_per_s_clocked","of_roof_pct_clocked"]],d[["accuracy","val","parameters","macs","disk_bytes","speedup_b1_clocked","speedup_b1_high_clocked","speedup_large_clocked","speedup_large_high_clocked"]],ph[["accuracy","val","parameters","macs","disk_bytes","train_seconds","speedup_b1_clocked","speedup_large_clocked"]],lo,st,pa,ru,cl): print(x if x is None else x.to_string())
sep,ort,fire,cre,res=b.loc[("torch","separable")],b.loc[("onnxruntime","separable")],b.loc[("torch","fire")],b.loc[("torch","crelu")],b.loc[("torch","residual")]
r("TODO-REF With 7.89 times fewer MACs the separable block is … times as fast in torch, … in onnxruntime.",
f"At the reference the separable block, with 7.89 times fewer MACs, is {sep.x:.2f} times as fast in torch ({sep.lo:.2f} to {sep.hi:.2f}), and {ort.x:.2f} in onnxruntime. Fire and Darknet, with 12 and 13 times fewer, are {fire.x:.2f} and {b.loc[('torch','darknet')].x:.2f} times as fast in torch. C.ReLU saves half of the MACs, and most of that time ({cre.x:.2f}).")
dw=ro.loc[("separable","0")]; pl=ro.loc[("plain","0")]
r("TODO-REF The depthwise layer does 1.1 MACs for each byte, so its roof is low: … GMAC/s. It reaches … % of that. So bytes bound it but do not explain its time: torch's way of computing it does. In onnxruntime, where the same bytes move, the separable block is … times as fast as the plain one.",
f"The depthwise layer does 1.1 MACs for each byte, so its roof is low. At the reference it reaches {dw.of_roof_pct_clocked:.1f} % of it, {dw.gmacs_per_s_clocked:.1f} GMAC/s, where the plain layer makes {pl.gmacs_per_s_clocked:.1f}. So bytes bound it but do not explain its time: torch's way of computing it does. In onnxruntime, where the same bytes move, the separable block is {ort.x:.2f} times as fast as the plain one.")
fig={"digits_what":f"""**What we see.** After two passes C.ReLU is first of the blocks ({f(dg.crelu,3)} of the validation images), Fire last ({f(dg.fire,4)}); LeNet-5, with 44 times the parameters, has {f(dg.lenet5,4)}. `patient` is `plain` after forty passes over moved digits: {f(dg.patient,4)} in place of {f(dg.plain,4)}.""",
}
i=s.index("**What we see.** TODO-REF"); s=s.replace("**What we see.** TODO-REF",fig["digits_what"],1)
p,l,po,lo5=d.loc["patient"],d.loc["lenet5"],d.loc["patient_onnx"],d.loc["lenet5_onnx"]
s=s.replace("**What we see.** TODO-REF",f"""**What we see.** `patient` is both choices, by either time: {f(p.accuracy,4)} of the test digits where LeNet-5 has {f(l.accuracy,4)}, with 44 times fewer parameters and 2.3 times fewer MACs. In torch it is {p.speedup_b1_clocked:.1f} times as fast for one image and {p.speedup_large_clocked:.1f} in a batch. All six blocks have about its MACs, but not its time: `separable` is {f(d.speedup_b1_clocked['separable'],1)} times as fast as LeNet-5 for one image, at .4 of its MACs.""",1)
r("That a small network is a fast one. For one image torch pays for *calls*, and `patient` makes more of them than LeNet-5. In onnxruntime a convolution, its norm and its ReLU are one call.",
f"That a small network is a fast one. For one image torch pays for *calls*, and blocks of several layers make many. In onnxruntime a convolution, its norm and its ReLU are one call: there `patient` is {po.speedup_b1_clocked:.1f} times as fast as LeNet-5 in torch, and LeNet-5 {lo5.speedup_b1_clocked:.1f} times.")
r("TODO-REF\n\n# %% [markdown] {\"id\": \"30\"","XX") if False else None
r("**Most of a field is hardly used.** TODO-REF",f"**Most of a field is hardly used.** At the reference `patient` can see 30 pixels across, all of the image, but {f(lo.middle['patient'])} of what it uses lies in the middle quarter. The residual network has a field of 54 and {f(lo.middle['residual'])}: more than .25 still.")
s=s.replace("**What we see.** TODO-REF",f"**What we see.** At the reference channels last are {st.x['last']:.2f} times as fast as channels first ({st.lo['last']:.2f} to {st.hi['last']:.2f}), for nothing but another order in memory, and bfloat16 is {st.x['last, bfloat16']:.2f} times as fast: the processor multiplies it.",1)
a,m,sm,ab=ph.loc["alexnet"],ph.loc["mirrored"],ph.loc["small"],ph.loc["airbench"]
s=s.replace("**What we see.** TODO-REF",f"**What we see.** After {ab.train_seconds/60:.0f} minutes of training airbench answers {f(ab.accuracy,4)} of the test photographs, and {f(m.accuracy,4)} with the mirror images, at twice the MACs. AlexNet has {f(a.accuracy,4)} after {a.train_seconds/60:.0f} minutes, `small` {f(sm.accuracy,4)} after {sm.train_seconds/60:.0f}.",1)
r("At the reference our small network has TODO-REF times fewer parameters than AlexNet, is … times as fast, and … points ahead.",
f"At the reference our small network has {a.parameters/sm.parameters:.1f} times fewer parameters than AlexNet and {a.macs/sm.macs:.1f} times fewer MACs. It is {sm.speedup_b1_clocked:.1f} times as fast for one photograph, {sm.speedup_large_clocked:.1f} in a batch, and {100*(sm.accuracy-a.accuracy):.1f} points ahead.")
s=s.replace("**What we see.** TODO-REF","**What we see.** PAIRS",1)
r("and is TODO-REF times as fast.",f"and is {fire.x:.2f} times as fast.")
r("In torch, one image, `patient` is TODO-REF times as fast as LeNet-5; in onnxruntime, the same two networks, TODO-REF times.",f"In torch, one image, `patient` is {p.speedup_b1_clocked:.1f} times as fast as LeNet-5; in onnxruntime, the same two networks, {po.speedup_b1_clocked/lo5.speedup_b1_clocked:.1f} times.")
r("and is less than that faster (TODO-REF).",f"and is {sep.x:.2f} times as fast in torch.")
r("4. With a teacher, 9,698 parameters answer TODO-REF of MNIST's test digits.",f"4. With patience, 9,698 parameters answer {f(p.accuracy,4)} of MNIST's test digits, more than LeNet-5 with 431,080 after two passes.")
r("reaches TODO-REF in TODO-REF minutes on two cores.",f"reaches {f(m.accuracy,4)} in {ab.train_seconds/60:.0f} minutes on two cores.")
open(sys.argv[3],'w').write(s)
